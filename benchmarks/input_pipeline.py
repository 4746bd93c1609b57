"""Measure how fast images become pixels, and how long uncached training waits for its data.

    python benchmarks/input_pipeline.py --data_dir MVSA_Single --text_encoder MINILM --image_encoder EFFICIENTNET_LITE0

The baseline is plain PIL and NumPy: Image.open, convert, resize, division, subtraction and transposition. Both ways
make 224 x 224 pixels of the same files with the same filter in one process, in turns. The images of
MVSA-Single are small. "photos" are the same images, enlarged to the size of a phone's photo, for which decoding at
reduced scale matters.

The share of waiting is measured over an epoch of CoMN with both encoders frozen and not cached. The first step, which
starts the worker, is left out.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common_report import parser_of, take_turns, write_report
from datasets import load_dataset
from PIL import Image
from torch.utils.data import DataLoader

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.training.collator import PostCollator

REPEATS = 5
BATCH_SIZE = 32
PHOTO = (2048, 1536)


def plain_pixels(paths: list[Path], processor: MultimodalProcessor) -> np.ndarray:
    """Return pixels (N, 3, H, W), computed with PIL and NumPy alone."""
    settings = processor.image_processor
    height, width = processor.image_size
    mean, std = (np.array(values, np.float32) for values in (settings.image_mean, settings.image_std))
    arrays = []
    for path in paths:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((width, height), settings.resample)
        arrays.append(((np.asarray(resized, np.float32) / 255 - mean) / std).transpose(2, 0, 1))
    return np.stack(arrays)


def own_pixels(paths: list[Path], processor: MultimodalProcessor) -> np.ndarray:
    """Return pixels (N, 3, H, W), computed by the processor."""
    return processor.encode_images([[path] for path in paths])["pixel_values"].squeeze(1).numpy()


def compare(paths: list[Path], processor: MultimodalProcessor) -> dict:
    """Measure both ways on the same files."""
    batches = [paths[start : start + BATCH_SIZE] for start in range(0, len(paths), BATCH_SIZE)]
    ways = {
        "plain": lambda: [plain_pixels(batch, processor) for batch in batches],
        "own": lambda: [own_pixels(batch, processor) for batch in batches],
    }
    seconds = take_turns(ways, REPEATS)
    std = np.array(processor.image_processor.image_std, np.float32)[:, None, None]
    difference = np.abs(plain_pixels(batches[0], processor) - own_pixels(batches[0], processor)) * std * 255
    plain, own = (len(paths) / statistics.median(values) for values in seconds.values())
    return {
        "images": len(paths),
        "images_per_second_plain": round(plain, 1),
        "images_per_second": round(own, 1),
        "ratio": round(own / plain, 2),
        "ratios": [round(p / o, 2) for p, o in zip(*seconds.values(), strict=True)],
        "mean_difference_of_pixels_of_255": round(float(difference.mean()), 3),
    }


def share_of_waiting(model: torch.nn.Module, posts, collator: PostCollator, workers: int) -> dict:
    """Measure the share of a training step that passes before its batch arrives."""
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


def enlarge(paths: list[Path], folder: str) -> list[Path]:
    """Write each image at the size of a photo."""
    photos = [Path(folder, path.name) for path in paths]
    for path, photo in zip(paths, photos, strict=True):
        with Image.open(path) as image:
            image.convert("RGB").resize(PHOTO, Image.Resampling.BICUBIC).save(photo, quality=90)
    return photos


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="MVSA-Single as its authors ship it")
    parser.add_argument("--text_encoder", required=True, help="Hub id or folder of a transformer")
    parser.add_argument("--image_encoder", required=True, help="Hub id or folder of a vision backbone")
    args = parser.parse_args()
    row = ARCHITECTURES["comn"]
    processor = row.processor.from_backbones(args.text_encoder, args.image_encoder)
    paths = sorted((args.data_dir / "data").glob("*.jpg"))[:256]
    figures = {"mvsa_single": compare(paths, processor)}
    with tempfile.TemporaryDirectory() as folder:
        figures[f"photos of {PHOTO[0]} x {PHOTO[1]}"] = compare(enlarge(paths[:32], folder), processor)
    posts = load_dataset("mvsa_single", data_dir=str(args.data_dir), split="train").select(range(7 * BATCH_SIZE))
    backbones = (args.text_encoder, args.image_encoder, processor.tokenizer, processor.image_size)
    model = row.classifier.from_backbones(*backbones, freeze_text=True, freeze_image=True)
    for workers in (0, 1):
        waiting = share_of_waiting(model, posts, PostCollator(processor), workers)
        figures[f"uncached training, {workers} workers"] = waiting
    write_report(args, figures, repeats=REPEATS, batch_size=BATCH_SIZE)


if __name__ == "__main__":
    main()
