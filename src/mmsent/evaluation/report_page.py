"""Write the report of a run as one HTML page, which needs no network and no script."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from mmsent.dataset_scripts.common_corpus import undecoded

from .advice import advice
from .html_parts import load_templates, thumbnail
from .scores import class_rows

REPORT_PAGE = "report.html"
EXAMPLES = 4  # posts of each kind
TEXT_LENGTH = 400  # characters of a text that are shown
THUMBNAIL = 220  # pixels of the longer side of a picture
BINS = 10  # bars of the reliability diagram
WIDTH, HEIGHT, MARGIN = 360, 200, 36  # of a curve, in SVG units


def write_report(output_dir: Path, run: dict, posts: Mapping[str, Dataset], label_names: list[str]) -> None:
    """Write `report.html` into the folder of a run or of an evaluation.

    It shows scores with their intervals, curves, confusion, the scores of each class, reliability, groups, posts that
    the model gets right and wrong, and what to try next. The posts are in the page: whoever may not see them must not
    get it.

    Args:
        run: The content of run.json, or of evaluation.json.
        posts: The posts of every split that run.json scores. `predictions_<split>.jsonl` are in `output_dir`.
    """
    splits = []
    for split, scores in run["scores"].items():
        lines = (output_dir / f"predictions_{split}.jsonl").read_text(encoding="utf-8").splitlines()
        predictions = [json.loads(line) for line in lines]
        splits.append(
            {
                "name": split,
                "scores": scores,
                "majority": run["majority"][split],
                "confusion": _confusion(scores["confusion_matrix"]),
                "classes": class_rows(scores),
                "reliability": reliability(predictions),
                "examples": list(_examples(predictions, posts[split])),
            }
        )
    values = {
        "title": output_dir.name,
        "run": run,
        "splits": splits,
        "names": label_names,
        "curves": list(_curves(run["log"], run["best_epoch"])) if "log" in run else [],
        "advice": advice(run, label_names),
    }
    page = _TEMPLATES.get_template("report.html").render(values)
    (output_dir / REPORT_PAGE).write_text(page, encoding="utf-8", errors="replace")


def reliability(predictions: list[dict]) -> list[dict[str, float]]:
    """Return for each of `BINS` equally wide ranges of the highest score its posts, mean score and accuracy.

    Ranges without posts are left out.
    """
    highest = np.array([line["scores"][line["prediction"]] for line in predictions])
    correct = np.array([line["prediction"] == line["label"] for line in predictions])
    bins = np.minimum((highest * BINS).astype(int), BINS - 1)
    return [
        {
            "bin": int(index),
            "posts": int((bins == index).sum()),
            "score": float(highest[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
        }
        for index in np.unique(bins)
    ]


def _confusion(matrix: list[list[int]]) -> list[list[tuple[int, float]]]:
    """Return each count with its share of the row."""
    return [[(count, count / max(1, sum(row))) for count in row] for row in matrix]


def _examples(predictions: list[dict], posts: Dataset) -> Iterator[tuple[str, list[dict]]]:
    """Yield the name of each kind of example, and its posts."""
    highest = np.array([line["scores"][line["prediction"]] for line in predictions])
    correct = np.array([line["prediction"] == line["label"] for line in predictions])
    order = np.argsort(-highest, kind="stable")
    kinds = {
        "Wrong, and the model is sure": order[~correct[order]][:EXAMPLES],
        "Right, and the model is sure": order[correct[order]][:EXAMPLES],
        "The model is not sure": order[::-1][:EXAMPLES],
    }
    raw = undecoded(posts)
    for kind, rows in kinds.items():
        if len(rows):
            yield kind, [predictions[row] | _shown(raw[int(row)]) for row in rows]


def _shown(post: dict) -> dict[str, Any]:
    text = post["text"] or ""
    return {
        "text": text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]} …",
        "aspect": post["aspect"],
        "pictures": [thumbnail(image, THUMBNAIL) for image in (post.get("images") or [])[:2]],
    }


def _curves(log: list[dict], best_epoch: float) -> Iterator[dict]:
    """Yield each diagram of Trainer's log with the points of its lines in SVG units."""
    diagrams = {
        "Loss": {"training": "loss", "validation": "eval_loss"},
        "Score on validation": {"accuracy": "eval_accuracy", "macro-F1": "eval_macro_f1"},
    }
    last = max((entry["epoch"] for entry in log), default=1)
    for title, keys in diagrams.items():
        lines = {
            name: [(entry["epoch"], entry[key]) for entry in log if key in entry and np.isfinite(entry[key])]
            for name, key in keys.items()
        }
        values = [value for points in lines.values() for _, value in points]
        if not values:
            continue
        low, high = min(values), max(values)
        span = (high - low) or 1

        def place(epoch: float, value: float, low=low, span=span) -> tuple[float, float]:
            across = MARGIN + epoch / last * (WIDTH - MARGIN - 8)
            return round(across, 1), round(8 + (1 - (value - low) / span) * (HEIGHT - MARGIN - 8), 1)

        yield {
            "title": title,
            "lines": {name: [place(*point) for point in points] for name, points in lines.items() if points},
            "low": low,
            "high": high,
            "last": last,
            "best": place(best_epoch, low)[0],
        }


_TEMPLATES = load_templates("mmsent.evaluation")
_TEMPLATES.filters |= {"percent": "{:.1%}".format, "number": "{:,}".format, "short": "{:.3g}".format}
_TEMPLATES.globals |= {"WIDTH": WIDTH, "HEIGHT": HEIGHT, "MARGIN": MARGIN}
