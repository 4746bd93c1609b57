"""Draw what a model attended to in one post: words shaded, image regions as a heat map, a row a hop.

python explain.py --model RUN --text "What a day" --image picture.jpg --output attention.png
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoProcessor

from modeling import MultimodalPreTrainedModel, MultimodalProcessor, load_image

WORDS_A_LINE = 8


def draw_attention(
    model: MultimodalPreTrainedModel, processor: MultimodalProcessor, text: str | None, images: list[Any]
) -> Figure:
    """A figure with one row a hop (as in Figure 2 of CoMN's paper): the words on the left, shaded by weight, and each
    image on the right under the heat map of its regions.

    Args:
        images: anything that `load_image` reads.

    Raises:
        ValueError: the model's visual memory are channels, which have no place in the picture.
    """
    if getattr(model.config, "visual_memory", "regions") == "channels":
        raise ValueError("This model attends to channels (visual_memory='channels'), not to regions of the picture.")
    pictures = [load_image(image) for image in images[: processor.max_images]]
    batch = processor(text=text, images=pictures)
    with torch.no_grad():
        output = model.eval()(**batch)
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    kept = batch["attention_mask"][0].bool().tolist()
    tokens = [token for token, is_kept in zip(tokens, kept, strict=True) if is_kept]

    # Where a modality has fewer hops than the other, its last ones stand beside the other's last ones.
    hops = max(len(output.text_attentions), len(output.image_attentions))
    figure = Figure(figsize=(5 + 3 * len(pictures), 0.7 + 2.8 * hops), layout="constrained")
    figure.suptitle(_verdict(model, output.logits[0]))
    axes = figure.subplots(hops, 1 + len(pictures), squeeze=False)
    for hop, row in enumerate(axes):
        row[0].set_title(f"hop {hop + 1}", loc="left", fontsize=9)
        words = _of_hop(output.text_attentions, hop, hops)
        _draw_words(row[0], tokens, None if words is None else words[: len(tokens)])
        regions = _of_hop(output.image_attentions, hop, hops)
        for slot, (axis, picture) in enumerate(zip(row[1:], pictures, strict=True)):
            heat = None if regions is None else regions.reshape(batch["image_mask"].shape[1], -1)[slot]
            _draw_regions(axis, picture, heat)
    return figure


def _verdict(model: MultimodalPreTrainedModel, logits: torch.Tensor) -> str:
    probabilities = logits.softmax(-1).tolist()
    ranked = sorted(zip(probabilities, model.config.id2label.values(), strict=True), reverse=True)
    return "   ".join(f"{name} {probability:.0%}" for probability, name in ranked)


def _of_hop(attentions: tuple[torch.Tensor, ...], hop: int, hops: int) -> np.ndarray | None:
    index = hop - (hops - len(attentions))
    return attentions[index][0].numpy() if index >= 0 else None


def _draw_words(axis, tokens: list[str], weights: np.ndarray | None) -> None:
    """The tokens in lines; the darkest is the one that weighs most."""
    axis.set_axis_off()
    lines = max(1, -(-len(tokens) // WORDS_A_LINE))
    for index, token in enumerate(tokens):
        shade = 0 if weights is None or weights.max() == 0 else 0.8 * float(weights[index] / weights.max())
        weight = "" if weights is None else f"\n{weights[index]:.2f}"
        x, y = (index % WORDS_A_LINE + 0.5) / WORDS_A_LINE, 1 - (index // WORDS_A_LINE + 0.5) / lines
        box = {"facecolor": (0.9, 0.3, 0.1, shade), "edgecolor": "none", "boxstyle": "round,pad=0.2"}
        axis.text(x, y, token + weight, ha="center", va="center", fontsize=7, bbox=box, transform=axis.transAxes)


def _draw_regions(axis, picture: Image.Image, weights: np.ndarray | None) -> None:
    axis.set_axis_off()
    axis.imshow(picture)
    if weights is not None:
        side = round(len(weights) ** 0.5)  # processors make square pictures, so the grid of regions is square
        extent = (0, picture.width, picture.height, 0)
        grid = weights.reshape(side, side)
        axis.imshow(grid, cmap="inferno", alpha=0.55, extent=extent, interpolation="bilinear", vmin=0)
        axis.set_title(f"largest weight {weights.max():.2f} of {len(weights)} regions", fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    parser.add_argument("--text")
    parser.add_argument("--image", nargs="*", default=[], help="one or more picture files")
    parser.add_argument("--output", type=Path, default=Path("attention.png"))
    args = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(args.model)
    processor = AutoProcessor.from_pretrained(args.model)
    draw_attention(model, processor, args.text, args.image).savefig(args.output, dpi=130)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
