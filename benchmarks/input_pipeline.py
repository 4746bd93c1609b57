"""How fast pictures become pixels, against plain PIL and NumPy, and how long uncached training waits for its data.

    python benchmarks/input_pipeline.py --data_dir MVSA_Single --text_encoder MINILM \\
        --image_encoder EFFICIENTNET_LITE0 [--output benchmarks/input_pipeline.json]

The plain way is Image.open, convert, resize, NumPy's division, subtraction and transposition; both make 224 x 224
pixels of the same files with the same filter in one process, batch by batch in turns. The pictures of MVSA-Single at
hand are small; "photos" are the same, enlarged to what a phone takes, where decoding at reduced scale counts.

The share of waiting is measured over the steps of an epoch of CoMN with both encoders frozen and not cached, after the
first, which starts the worker.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import load_dataset
from PIL import Image
from torch.utils.data import DataLoader

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.training.collator import PostCollator

REPEATS = 5
BATCH_SIZE = 32
PHOTO = (2048, 1536)


def plain(paths: list[Path], processor: MultimodalProcessor) -> np.ndarray:
    """(N, 3, H, W) as one writes it without this project."""
    settings = processor.image_processor
    height, width = processor.image_size
    mean, std = (np.array(values, np.float32) for values in (settings.image_mean, settings.image_std))
    arrays = []
    for path in paths:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((width, height), settings.resample)
        arrays.append(((np.asarray(resized, np.float32) / 255 - mean) / std).transpose(2, 0, 1))
    return np.stack(arrays)


def ours(paths: list[Path], processor: MultimodalProcessor) -> np.ndarray:
    return processor.encode_images([[path] for path in paths])["pixel_values"].squeeze(1).numpy()


def compare(paths: list[Path], processor: MultimodalProcessor) -> dict:
    batches = [paths[start : start + BATCH_SIZE] for start in range(0, len(paths), BATCH_SIZE)]
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(REPEATS):
        seconds = {"plain": 0.0, "ours": 0.0}
        for batch in batches:
            for name, way in (("plain", plain), ("ours", ours)):
                started = time.perf_counter()
                way(batch, processor)
                seconds[name] += time.perf_counter() - started
        for name, value in seconds.items():
            rates[name].append(len(paths) / value)
    std = np.array(processor.image_processor.image_std, np.float32)[:, None, None]
    difference = np.abs(plain(batches[0], processor) - ours(batches[0], processor)) * std * 255
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "pictures": len(paths),
        "images_a_second_plain": round(median["plain"], 1),
        "images_a_second": round(median["ours"], 1),
        "ratio": round(median["ours"] / median["plain"], 2),
        "ratios": [round(o / p, 2) for o, p in zip(rates["ours"], rates["plain"], strict=True)],
        "mean_difference_of_pixels_of_255": round(float(difference.mean()), 3),
    }


def waiting(model: torch.nn.Module, posts, collator: PostCollator, workers: int) -> dict:
    """The share of the time of a training step that goes by before its batch is there."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    waited, total = [], []
    loader = iter(DataLoader(posts, BATCH_SIZE, collate_fn=collator, num_workers=workers))
    for _ in range(len(posts) // BATCH_SIZE):
        started = time.perf_counter()
        batch = next(loader)
        waited.append(time.perf_counter() - started)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total.append(time.perf_counter() - started)
    return {"steps": len(total) - 1, "share_of_waiting": round(sum(waited[1:]) / sum(total[1:]), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="MVSA-Single as its authors ship it")
    parser.add_argument("--text_encoder", required=True)
    parser.add_argument("--image_encoder", required=True)
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    args = parser.parse_args()
    row = ARCHITECTURES["comn"]
    processor = row.processor.from_backbones(args.text_encoder, args.image_encoder)
    paths = sorted((args.data_dir / "data").glob("*.jpg"))[:256]
    figures = {"mvsa_single": compare(paths, processor)}
    with tempfile.TemporaryDirectory() as folder:
        photos = []
        for path in paths[:32]:
            photos.append(Path(folder, path.name))
            with Image.open(path) as image:
                image.convert("RGB").resize(PHOTO, Image.Resampling.BICUBIC).save(photos[-1], quality=90)
        figures[f"photos of {PHOTO[0]} x {PHOTO[1]}"] = compare(photos, processor)
    posts = load_dataset("mvsa_single", data_dir=str(args.data_dir), split="train").select(range(7 * BATCH_SIZE))
    model = row.classifier.from_backbones(
        *(args.text_encoder, args.image_encoder, processor.tokenizer, processor.image_size),
        freeze_text=True,
        freeze_image=True,
    )
    for workers in (0, 1):
        figures[f"uncached training, {workers} workers"] = waiting(model, posts, PostCollator(processor), workers)
    print(json.dumps(figures, indent=2))
    if args.output:
        result = {
            "command": "python benchmarks/input_pipeline.py --data_dir MVSA_Single --text_encoder MINILM "
            f"--image_encoder EFFICIENTNET_LITE0 --output {args.output.as_posix()}",
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
