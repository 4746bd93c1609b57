"""The outputs of a label-embedding classifier in two dimensions (MVSO study, appendix 2)."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from datasets import Dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from sklearn.manifold import TSNE

from mmsent.dataset_scripts.common_splits import hash_position
from mmsent.inference.evaluate import batches
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

from .style import COLORS, MARKERS

DIRECTIONS = [2 * math.pi * number / 16 for number in range(16)]
FAR = 9  # pixels from which a line leads from a point to its name
STEPS = range(40)  # how far a name may move from its point, in steps of 3 pixels


def choose_posts(posts: Dataset, count: int) -> Dataset:
    """Return `count` posts: those whose ids have the lowest hashes, so that they are the same in every copy."""
    order = sorted(range(len(posts)), key=lambda row: hash_position(posts[row]["id"]))
    return posts.select(sorted(order[:count]))


@torch.no_grad()
def embed(pipe: ImageTextSentimentPipeline, posts: Dataset, batch_size: int = 32) -> np.ndarray:
    """Return the outputs (N, E) of a model in the space of its label embeddings.

    Raises:
        ValueError: If the model has no label embeddings.
    """
    if getattr(pipe.model.config, "head", None) != "label_embedding":
        raise ValueError("the model has no label embeddings: train one with --model_kwargs head=label_embedding")
    outputs = [pipe.model(**batch).embedding for batch in batches(pipe, posts, batch_size)]
    return torch.cat(outputs).float().numpy()


def project(embeddings: np.ndarray) -> np.ndarray:
    """Return the points (N, 2) that t-SNE gives vectors (N, E), the same at every call."""
    if len(embeddings) < 4:
        raise ValueError(f"t-SNE needs four posts or more, and there are {len(embeddings)}")
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(embeddings.astype(np.float64))


def draw(points: np.ndarray, names: list[str], labels: list[int], label_names: list[str]) -> Figure:
    """Return a figure of points (N, 2), each with its name, in the colour and with the marker of its label."""
    figure = Figure(figsize=(9, 7))
    FigureCanvasAgg(figure)  # it measures the names
    axis = figure.subplots()
    for label, label_name in enumerate(label_names):
        rows = [row for row, other in enumerate(labels) if other == label]
        style = {"color": COLORS[label % len(COLORS)], "marker": MARKERS[label % len(MARKERS)]}
        axis.scatter(*points[rows].T, s=22, label=label_name, edgecolors="black", linewidths=0.4, zorder=2, **style)
    axis.margins(0.12)
    axis.set(xticks=[], yticks=[])
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.07), ncols=len(label_names))
    write_names(axis, points, names)
    return figure


def write_names(axis, points: np.ndarray, names: list[str]) -> None:
    """Write a name beside each point, as near as it fits without covering another name or a point."""
    figure = axis.figure
    figure.draw_without_rendering()  # it sets the scales
    renderer, window = figure.canvas.get_renderer(), axis.get_window_extent()
    places = axis.transData.transform(points)
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    for point, place, name in zip(points, places, names, strict=True):
        style = {"textcoords": "offset points", "fontsize": 6, "ha": "center", "va": "center"}
        text = axis.annotate(name, point, (0, 0), **style)
        extent = text.get_window_extent(renderer)
        size = np.array([extent.width, extent.height])
        for offset in _offsets(size):
            corner = place + offset - size / 2
            box = Bbox([corner, corner + size])
            is_inside = window.contains(*box.min) and window.contains(*box.max)
            if is_inside and not any(box.overlaps(other) for other in taken):
                break
        text.set_position(offset * 72 / figure.dpi)
        taken.append(box)
        end = place.clip(box.min, box.max)
        if np.linalg.norm(end - place) > FAR:
            ends = np.stack([point, axis.transData.inverted().transform(end)])
            axis.add_artist(Line2D(*ends.T, linewidth=0.4, color="0.5", zorder=1))


def _offsets(size: np.ndarray) -> Iterator[np.ndarray]:
    """Yield offsets of a name of a size from its point, the nearest first, in pixels."""
    for step in STEPS:
        for angle in DIRECTIONS:
            yield np.array([math.cos(angle), math.sin(angle)]) * (size / 2 + 5 + 3 * step)
