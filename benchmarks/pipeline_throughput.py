"""Measure the posts per second of the pipeline against its parts: the processor and the forward pass.

    python benchmarks/pipeline_throughput.py

The model is the default one (CoMN with word vectors and a small CNN), and the posts are the test split of
sample_posts. The processor over all batches, the model over prepared batches, and the pipeline over the posts are
measured in turns.
"""

import statistics

import torch
from common_report import parser_of, take_turns, write_report
from datasets import load_dataset
from transformers import pipeline

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_pipeline import TASK

REPEATS = 9
BATCH_SIZE = 32


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    corpus = undecoded(load_dataset("sample_posts"))
    posts = list(corpus["test"])
    row = ARCHITECTURES["comn"]
    processor = row.processor.from_backbones("word_vectors", "small_cnn", corpus["train"]["text"])
    model = row.classifier.from_backbones("word_vectors", "small_cnn", processor.tokenizer, processor.image_size)
    classify = pipeline(TASK, model=model, processor=processor, device="cpu")
    batches = [posts[start : start + BATCH_SIZE] for start in range(0, len(posts), BATCH_SIZE)]
    columns = [{name: [post[name] for post in batch] for name in ("text", "images", "aspect")} for batch in batches]
    prepared = [processor(**batch) for batch in columns]

    @torch.no_grad()
    def forward() -> None:
        for batch in prepared:
            model(**batch)

    ways = {
        "processing": lambda: [processor(**batch) for batch in columns],
        "forward": forward,
        "pipeline": lambda: classify(posts, batch_size=BATCH_SIZE),
    }
    seconds = take_turns(ways, REPEATS)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [sum(parts) / whole for *parts, whole in zip(*seconds.values(), strict=True)]
    figures = {
        "posts": len(posts),
        "posts_per_second_pipeline": round(len(posts) / median["pipeline"], 1),
        "posts_per_second_processing_and_forward": round(len(posts) / (median["processing"] + median["forward"]), 1),
        "milliseconds_per_post": {name: round(1000 * value / len(posts), 3) for name, value in median.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(value, 3) for value in ratios],
    }
    write_report(args, figures, repeats=REPEATS, batch_size=BATCH_SIZE)


if __name__ == "__main__":
    main()
