"""How much faster heads train on cached features than on frozen encoders that run at every step, at the same losses.

    python benchmarks/feature_cache.py --data_dir MVSA_Single --text_encoder MINILM \
        --image_encoder EFFICIENTNET_LITE0 [--output benchmarks/feature_cache.json]

Both trainings are of the same new model on the same batches of MVSA-Single, in turns within one process. Beside them
stands a step on features that lie in memory as one batch: what no cache can be faster than.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from datasets import DatasetDict
from torch.utils.data import DataLoader

import train
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.training.arguments import ModelArguments, RunArguments
from mmsent.training.feature_cache import PostCollator, encode_features

# gated_fusion reads the mean over an image's regions, and that is what is cached for it.
HEADS = {"comn": [], "mdse": ["hidden_size=384", "num_attention_heads=8"], "gated_fusion": []}
REPEATS = 3
BATCH_SIZE = 32


def epoch(model: torch.nn.Module, posts, collator: PostCollator) -> tuple[float, list[float]]:
    """Samples a second and the losses of one epoch of training, from the same beginning every time."""
    model.train()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    losses, started = [], time.perf_counter()
    for batch in DataLoader(posts, BATCH_SIZE, collate_fn=collator):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return len(posts) / (time.perf_counter() - started), losses


def bare_head(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Samples a second of training on one batch again and again, nothing read."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return len(batch["labels"]) / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="MVSA-Single as its authors ship it")
    parser.add_argument("--text_encoder", required=True)
    parser.add_argument("--image_encoder", required=True)
    parser.add_argument("--posts", type=int, default=96)
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    args = parser.parse_args()
    corpus = train.load_dataset("mvsa_single", data_dir=args.data_dir, split="train").select(range(args.posts))
    corpus, _ = screen_images(DatasetDict(train=corpus), "error")
    classes = dict(enumerate(corpus["train"].features["label"].names))
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        run_args = RunArguments(output_dir=folder, report_to="none")
        for name, settings in HEADS.items():
            kwargs = ["freeze_text=true", "freeze_image=true", *settings]
            torch.manual_seed(0)
            processor, model = train.build(
                ModelArguments(name, args.text_encoder, args.image_encoder, model_kwargs=kwargs), [], classes
            )
            collator = PostCollator(processor)
            beginning = {key: value.clone() for key, value in model.state_dict().items()}
            seconds = []
            for _ in range(2):  # the second finds what the first made
                started = time.perf_counter()
                cached = encode_features(model, corpus, collator, run_args, Path(folder, "features"))
                seconds.append(time.perf_counter() - started)
            rates, losses = {"cached": [], "uncached": []}, {}
            for _ in range(REPEATS):
                for way, posts in (("uncached", corpus["train"]), ("cached", cached["train"])):
                    model.load_state_dict(beginning)
                    rate, losses[way] = epoch(model, posts, collator)
                    rates[way].append(rate)
            reading = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                for _ in DataLoader(cached["train"], BATCH_SIZE, collate_fn=collator):
                    pass
                reading.append((time.perf_counter() - started) / args.posts)
            median = {way: statistics.median(values) for way, values in rates.items()}
            figures[name] = {
                "samples_a_second_uncached": round(median["uncached"], 1),
                "samples_a_second_cached": round(median["cached"], 1),
                "samples_a_second_of_the_head_alone": round(
                    bare_head(model, collator(cached["train"].__getitems__(range(BATCH_SIZE)))), 1
                ),
                "ratio": round(median["cached"] / median["uncached"], 1),
                "ratios": [round(c / u, 1) for c, u in zip(rates["cached"], rates["uncached"], strict=True)],
                "largest_difference_of_losses": max(
                    abs(c - u) for c, u in zip(losses["cached"], losses["uncached"], strict=True)
                ),
                "steps": len(losses["cached"]),
                "microseconds_to_read_a_post": round(1e6 * statistics.median(reading), 1),
                "seconds_to_encode": round(seconds[0], 2),
                "seconds_to_find": round(seconds[1], 2),
            }
            print(f"{name}: {json.dumps(figures[name], indent=2)}")
    if args.output:
        result = {
            "command": "python benchmarks/feature_cache.py --data_dir MVSA_Single --text_encoder MINILM "
            f"--image_encoder EFFICIENTNET_LITE0 --posts {args.posts} --output {args.output.as_posix()}",
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "repeats": REPEATS,
            "batch_size": BATCH_SIZE,
            "figures": figures,
        }
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
