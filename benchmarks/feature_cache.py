"""Measure how much faster a head trains on cached features than on frozen encoders that run at every step.

    python benchmarks/feature_cache.py --data_dir MVSA_Single --text_encoder MINILM \
        --image_encoder EFFICIENTNET_LITE0 [--output benchmarks/feature_cache.json]

Both trainings use the same new model and the same batches of MVSA-Single, in turns within one process, and their
losses are compared. The benchmark also measures steps on one batch that lies in memory: no cache can be faster.
"""

import statistics
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import torch
from common_report import parser_of, take_turns, write_report
from datasets import DatasetDict
from torch.utils.data import DataLoader

import mmsent
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.training.arguments import ModelArguments, RunArguments
from mmsent.training.build import build
from mmsent.training.collator import PostCollator
from mmsent.training.feature_cache import encode_features

# gated_fusion reads the mean over an image's regions, so only this mean is cached for it.
HEADS = {"comn": [], "mdse": ["hidden_size=384", "num_attention_heads=8"], "gated_fusion": []}
REPEATS = 3
BATCH_SIZE = 32


def train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> float:
    """Run one training step and return its loss."""
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def new_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)


def train_epoch(model: torch.nn.Module, posts, collator: PostCollator) -> tuple[float, list[float]]:
    """Train for one epoch with the same random numbers every time; return posts per second and the losses."""
    model.train()
    torch.manual_seed(0)
    optimizer, started = new_optimizer(model), time.perf_counter()
    losses = [train_step(model, optimizer, batch) for batch in DataLoader(posts, BATCH_SIZE, collate_fn=collator)]
    return len(posts) / (time.perf_counter() - started), losses


def measure_parts(model: torch.nn.Module, posts, collator: PostCollator) -> tuple[float, float]:
    """Return the seconds that reading and collating one cached post takes, and those of training on one post of a
    batch that lies in memory."""
    model.train()
    batch, optimizer = collator([posts[row] for row in range(BATCH_SIZE)]), new_optimizer(model)
    ways = {
        "reading": lambda: list(DataLoader(posts, BATCH_SIZE, collate_fn=collator)),
        "training": lambda: train_step(model, optimizer, batch),
    }
    reading, training = map(statistics.median, take_turns(ways, 5).values())
    return reading / len(posts), training / BATCH_SIZE


def measure(name: str, settings: list[str], corpus: DatasetDict, args: Namespace, folder: str) -> dict:
    """Return the figures of one architecture."""
    classes = dict(enumerate(corpus["train"].features["label"].names))
    kwargs = ["freeze_text=true", "freeze_image=true", *settings]
    torch.manual_seed(0)
    model_args = ModelArguments(name, args.text_encoder, args.image_encoder, model_kwargs=kwargs)
    processor, model = build(model_args, [], classes)
    collator, run_args = PostCollator(processor), RunArguments(output_dir=folder, report_to="none")
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    seconds = []
    for _ in range(2):  # the second call finds what the first one has written
        started = time.perf_counter()
        cached = encode_features(model, corpus, collator, run_args, Path(folder, "features"))
        seconds.append(time.perf_counter() - started)
    rates, losses = {"uncached": [], "cached": []}, {}
    for _ in range(REPEATS):
        for way, posts in (("uncached", corpus["train"]), ("cached", cached["train"])):
            model.load_state_dict(initial)
            rate, losses[way] = train_epoch(model, posts, collator)
            rates[way].append(rate)
    median = {way: statistics.median(values) for way, values in rates.items()}
    reading, head = measure_parts(model, cached["train"], collator)
    return {
        "posts_per_second_uncached": round(median["uncached"], 1),
        "posts_per_second_cached": round(median["cached"], 1),
        "posts_per_second_of_the_head_alone": round(1 / head, 1),
        "ratio": round(median["cached"] / median["uncached"], 1),
        "ratios": [round(c / u, 1) for c, u in zip(rates["cached"], rates["uncached"], strict=True)],
        "largest_difference_of_losses": max(
            abs(c - u) for c, u in zip(losses["cached"], losses["uncached"], strict=True)
        ),
        "steps": len(losses["cached"]),
        "microseconds_to_read_a_post": round(1e6 * reading, 1),
        "seconds_to_encode": round(seconds[0], 2),
        "seconds_to_find": round(seconds[1], 2),
    }


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--data_dir", required=True, help="MVSA-Single as its authors ship it")
    parser.add_argument("--text_encoder", required=True)
    parser.add_argument("--image_encoder", required=True)
    parser.add_argument("--posts", type=int, default=96)
    args = parser.parse_args()
    corpus = mmsent.load_corpus("mvsa_single", data_dir=args.data_dir, split="train").select(range(args.posts))
    corpus, _ = screen_images(DatasetDict(train=corpus), "error")
    with tempfile.TemporaryDirectory() as folder:
        figures = {name: measure(name, settings, corpus, args, folder) for name, settings in HEADS.items()}
    write_report(args, figures, repeats=REPEATS, batch_size=BATCH_SIZE)


if __name__ == "__main__":
    main()
