"""What a run reports: scores with their uncertainty, the floor that they stand on, and where a model is weak."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Image, List
from scipy.stats import binomtest

from mmsent.evaluation.sentiment.sentiment import Sentiment

# Columns that split a corpus into kinds of posts, where it has them and they take a few values.
KINDS = ("decided_by", "aspect")
MOST_KINDS = 20


def score(predictions: np.ndarray, references: list[int], label_names: list[str]) -> dict:
    """The scores of `metrics/sentiment`, and `accuracy_interval`, 95 % of Wilson's kind: [low, high]."""
    # keep_in_memory: by default evaluate writes a file that the processes of one run would share.
    scores = Sentiment(keep_in_memory=True).compute(
        predictions=predictions, references=references, label_names=label_names
    )
    return scores | {"accuracy_interval": wilson_interval(scores["accuracy"], len(references))}


def wilson_interval(share: float, count: int) -> list[float]:
    """Return the 95 % interval [low, high] of a share that was measured on `count` posts (Wilson's interval)."""
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def majority_score(train_labels: list[int], references: list[int], label_names: list[str]) -> dict:
    """Return the scores of always naming the most frequent class of the training split, and its name as `label`."""
    most_frequent = Counter(train_labels).most_common(1)[0][0]
    scores = score(np.full(len(references), most_frequent), references, label_names)
    return scores | {"label": label_names[most_frequent]}


def subgroups(posts) -> dict[str, np.ndarray]:
    """Groups of posts that a model may find harder than others: name -> rows.

    By the corpus's own kinds (`KINDS`), by whether the labels of text and image agree, and by how much of a post there
    is: no text, no picture, several pictures. A group of nobody, or of everybody, is left out.
    """
    groups = {}
    for column in KINDS:
        feature = posts.features.get(column)
        name = feature.int2str if isinstance(feature, ClassLabel) else str
        values = np.array([name(value) for value in posts[column]] if feature is not None else [])
        if 1 < len(set(values)) <= MOST_KINDS:
            groups |= {f"{column} = {value}": values == value for value in sorted(set(values))}
    if None not in posts["text_label"] and None not in posts["image_label"]:
        agree = np.array(posts["text_label"]) == np.array(posts["image_label"])
        groups |= {"text and image labels agree": agree, "text and image labels differ": ~agree}
    pictures = posts.cast_column("images", List(Image(decode=False)))["images"]
    count = np.array([len(images) for images in pictures])
    blank = np.array([not (text or "").strip() for text in posts["text"]])
    groups |= {"no text": blank, "no picture": count == 0, "several pictures": count > 1}
    return {name: rows.nonzero()[0] for name, rows in groups.items() if rows.any() and not rows.all()}


def subgroup_scores(posts, predictions: np.ndarray, references: list[int]) -> dict[str, dict]:
    """Of each group of `subgroups`: the number of its posts, accuracy and accuracy_interval."""
    right = np.asarray(predictions) == np.asarray(references)
    scores = {}
    for name, rows in subgroups(posts).items():
        accuracy = float(right[rows].mean())
        interval = wilson_interval(accuracy, len(rows))
        scores[name] = {"posts": len(rows), "accuracy": accuracy, "accuracy_interval": interval}
    return scores


def write_predictions(path: Path, ids: list[str], references: list[int], logits: np.ndarray, names: list[str]) -> None:
    """One JSON line a post: id, label, prediction, and the probability of every class."""
    probabilities = torch.from_numpy(logits).float().softmax(-1).tolist()
    with path.open("w", encoding="utf-8") as lines:
        for post_id, reference, row in zip(ids, references, probabilities, strict=True):
            scores = {name: round(value, 6) for name, value in zip(names, row, strict=True)}
            line = {
                "id": post_id,
                "label": names[reference],
                "prediction": max(scores, key=scores.get),
                "scores": scores,
            }
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def print_report(run: dict, label_names: list[str]) -> None:
    """What was left out of a run, the scores beside the majority class, groups of posts and confusion matrices."""
    for split, ids in run["missing_posts"].items():
        print(f"{split}: {len(ids)} posts are not in the release at hand (listed in run.json)")
    for note in run["notes"]:
        print(f"note: {note if len(note) < 300 else note[:300] + ' ...'}")
    for split, reasons in run["bad_images"].items():
        print(f"{split}: {len(reasons)} images could not be decoded: " + "; ".join(reasons[:10]))
    print(f"\n{'':24}{'accuracy':>10}{'95 % interval':>18}{'macro-F1':>10}{'weighted-F1':>13}")
    for split, scores in run["scores"].items():
        for name, row in ((split, scores), ("  majority class", run["majority"][split])):
            interval = " to ".join(f"{value:.2%}" for value in row["accuracy_interval"])
            print(
                f"{name:24}{row['accuracy']:>10.2%}{interval:>18}{row['macro_f1']:>10.2%}{row['weighted_f1']:>13.2%}"
            )
    for split, scores in run["scores"].items():
        for name, row in scores["subgroups"].items():
            interval = " to ".join(f"{value:.2%}" for value in row["accuracy_interval"])
            print(f"{split}, {name}: {row['accuracy']:.2%} ({interval}) of {row['posts']} posts")
        width = max(len(name) for name in label_names) + 2
        print(f"\n{split}: rows are true classes, columns predicted ones")
        print(" " * width + "".join(f"{name:>{width}}" for name in label_names))
        for name, row in zip(label_names, scores["confusion_matrix"], strict=True):
            print(f"{name:{width}}" + "".join(f"{count:>{width}}" for count in row))
