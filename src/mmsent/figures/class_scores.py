"""The class scores of example posts by several models (MDSE, figure 2)."""

import textwrap

from datasets import Dataset
from matplotlib.figure import Figure

from mmsent.modeling.common_images import load_image
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

from .style import COLORS, HATCHES, clean

LABELS = {"text": "text_label", "image": "image_label", "post": "label"}


def find_posts(posts: Dataset, ids: list[str]) -> list[dict]:
    """Return the posts with these ids.

    Raises:
        ValueError: If there is no such post.
    """
    rows = {post_id: row for row, post_id in enumerate(posts["id"])}
    for post_id in ids:
        if post_id not in rows:
            raise ValueError(
                f"--ids {post_id}: the split has no such post; it has {len(rows)}, such as {next(iter(rows))}"
            )
    return [posts[rows[post_id]] for post_id in ids]


def class_scores(pipes: dict[str, ImageTextSentimentPipeline], posts: list[dict]) -> list[dict[str, dict[str, float]]]:
    """Return the score of each class by model, for each post."""
    scores = {
        name: pipe([post if pipe.model.reads_aspect else post | {"aspect": None} for post in posts])
        for name, pipe in pipes.items()
    }
    labels = {name: list(pipe.model.config.id2label.values()) for name, pipe in pipes.items()}
    first = next(iter(labels))
    for name in labels:
        if set(labels[name]) != set(labels[first]):
            raise ValueError(
                f"{name} has the classes {', '.join(labels[name])}, and {first} {', '.join(labels[first])}"
            )
    return [
        {
            name: {
                label: {entry["label"]: entry["score"] for entry in scores[name][number]}[label]
                for label in labels[first]
            }
            for name in pipes
        }
        for number in range(len(posts))
    ]


def draw(posts: list[dict], scores: list[dict[str, dict[str, float]]], label_names: list[str]) -> Figure:
    """Return a figure with a column for each post: its image, its text and labels, and the scores as bars.

    Args:
        label_names: The names of the corpus' classes, by which the posts have their labels.
    """
    figure = Figure(figsize=(4.2 * len(posts), 6.2), layout="constrained")
    panels = figure.subplots(3, len(posts), squeeze=False, height_ratios=[2.2, 1.3, 2.2])
    for column, (post, by_model) in enumerate(zip(posts, scores, strict=True)):
        image, text, bars = panels[:, column]
        image.axis("off")
        text.axis("off")
        if post["images"]:
            image.imshow(load_image(post["images"][0]))
        given = {part: post[field] for part, field in LABELS.items() if post[field] is not None}
        lines = textwrap.wrap(textwrap.shorten(post["text"] or "", 150, placeholder=" …"), 44)
        lines += ["", ", ".join(f"{part}: {label_names[label]}" for part, label in given.items())]
        text.text(0.5, 0.5, "\n".join(lines).replace("$", r"\$"), ha="center", va="center", fontsize=8)
        _bars(bars, by_model)
    panels[2, 0].set_ylabel("score")
    handles, names = panels[2, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", frameon=False, ncols=len(names))
    return figure


def _bars(axis, by_model: dict[str, dict[str, float]]) -> None:
    width = 0.8 / len(by_model)
    classes = list(next(iter(by_model.values())))
    for number, (name, scores) in enumerate(by_model.items()):
        places = [place + (number - (len(by_model) - 1) / 2) * width for place in range(len(classes))]
        style = {"color": COLORS[number % len(COLORS)], "hatch": HATCHES[number % len(HATCHES)]}
        bars = axis.bar(places, scores.values(), width, label=name, edgecolor="black", linewidth=0.5, **style)
        axis.bar_label(bars, [f"{score:.2f}" for score in scores.values()], fontsize=6, padding=1)
    axis.set_xticks(range(len(classes)), classes)
    axis.set_ylim(0, 1.08)
    clean(axis)
