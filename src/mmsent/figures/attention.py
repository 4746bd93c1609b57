"""The attention of each hop over the words and the image regions of a post (CoMN, figure 2)."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from mmsent.explanation.attribution import Hop

from .style import clean


def draw(words: list[str], images: list[Image.Image], hops: list[Hop]) -> Figure:
    """Return a figure with a row for each hop: its weights of the words as bars, and of the regions over the images.

    Raises:
        ValueError: If the model has no attention.
    """
    if not hops:
        raise ValueError(
            "the model has no attention: its architecture reads the words and regions without weighting them"
        )
    shown = [number for number, word in enumerate(words) if word.strip()]
    has_words = any(hop.words is not None for hop in hops)
    widths = [max(4.5, 0.34 * len(shown))] * has_words + [2.2] * len(images)
    figure = Figure(figsize=(sum(widths), 2.5 * len(hops) + 0.3), layout="constrained")
    panels = figure.subplots(len(hops), len(widths), squeeze=False, width_ratios=widths)
    highest = max((max(hop.words) for hop in hops if hop.words), default=1.0)
    for number, (hop, row) in enumerate(zip(hops, panels, strict=True), 1):
        row[0].set_title(f"hop {number}", loc="left", fontsize=10)
        if has_words:
            _words(
                row[0], [words[place].strip() for place in shown], hop.words and [hop.words[place] for place in shown]
            )
            row[0].set_ylim(0, 1.15 * highest)
        for slot, panel in enumerate(row[has_words:]):
            _regions(panel, images[slot], None if hop.regions is None else hop.regions[slot])
    return figure


def _words(axis, words: list[str], weights: list[float] | None) -> None:
    if weights is None:
        axis.axis("off")
        return
    axis.bar(range(len(words)), weights, color="#00527f", edgecolor="black", linewidth=0.5)
    for place, weight in enumerate(weights):
        axis.text(place, weight, f"{weight:.2f}".lstrip("0"), ha="center", va="bottom", fontsize=6)
    words = [word.replace("$", r"\$") for word in words]
    axis.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axis.tick_params(axis="y", labelsize=7)
    clean(axis)


def _regions(axis, image: Image.Image, weights: np.ndarray | None) -> None:
    """Draw the weights over the image in grey: the bluer and darker a region, the higher its weight."""
    axis.set(xticks=[], yticks=[])
    if weights is None:
        axis.axis("off")
        return
    grey = np.asarray(ImageOps.grayscale(image), np.float32) / 255
    extent = (0, image.width, image.height, 0)
    axis.imshow(0.4 + 0.6 * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=weights.max(), alpha=0.6, extent=extent)
    rows, columns = weights.shape
    if weights.size <= 49:
        for row in range(rows):
            for column in range(columns):
                place = ((column + 0.5) * image.width / columns, (row + 0.5) * image.height / rows)
                dark = weights[row, column] > 0.7 * weights.max()
                text = f"{weights[row, column]:.2f}".lstrip("0")
                axis.text(*place, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
