"""Posts a second of the pipeline, beside the bare forward pass plus what decoding and processing cost.

    python benchmarks/pipeline_throughput.py [--output benchmarks/pipeline_throughput.json]

The default model (CoMN with word vectors and a small CNN) and the test split of sample_posts. In turns: the processor
alone over all batches, the model alone over the batches prepared, and the pipeline over the posts.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from datasets import Image, List, load_dataset
from transformers import pipeline

import mmsent  # noqa: F401, makes the corpus known
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_pipeline import TASK

REPEATS = 9
BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    args = parser.parse_args()
    corpus = load_dataset("sample_posts").cast_column("images", List(Image(decode=False)))
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
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [sum(parts) / whole for *parts, whole in zip(*seconds.values(), strict=True)]
    result = {
        "command": "python benchmarks/pipeline_throughput.py --output benchmarks/pipeline_throughput.json",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "repeats": REPEATS,
        "batch_size": BATCH_SIZE,
        "figures": {
            "posts": len(posts),
            "posts_a_second_pipeline": round(len(posts) / median["pipeline"], 1),
            "posts_a_second_processing_and_forward": round(len(posts) / (median["processing"] + median["forward"]), 1),
            "milliseconds_a_post": {name: round(1000 * value / len(posts), 3) for name, value in median.items()},
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(value, 3) for value in ratios],
        },
    }
    print(json.dumps(result["figures"], indent=2))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
