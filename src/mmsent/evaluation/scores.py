"""Score predictions, with the uncertainty of the accuracy and the majority class for comparison."""

from collections import Counter

import numpy as np
from scipy.stats import binomtest

from mmsent.dataset_scripts.common_files import join_names

from .sentiment.sentiment import MEASURES, Sentiment


def score(predictions: np.ndarray, references: list[int], label_names: list[str]) -> dict:
    """Return the scores of the metric `sentiment`, and `accuracy_interval`, the 95 % interval of the accuracy."""
    # keep_in_memory: evaluate would write a file that the processes of one run share.
    scores = Sentiment(keep_in_memory=True).compute(
        predictions=predictions, references=references, label_names=label_names
    )
    return scores | {"accuracy_interval": wilson_interval(scores["accuracy"], len(references))}


def single_numbers(scores: dict) -> dict[str, float]:
    """Return the scores that are one number, without the interval, the confusion matrix and the groups of posts."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def class_rows(scores: dict) -> list[tuple[str, list[float]]]:
    """Return the precision, recall and F1 of each class, and their macro and weighted averages.

    Scores that were written before precision and recall were measured give no rows.
    """
    names = [key.removeprefix("precision_") for key in scores if key.startswith("precision_")]
    rows = [(name, [scores[f"{measure}_{name}"] for measure in MEASURES]) for name in names]
    for mean in ("macro", "weighted") if names else ():
        rows.append((f"{mean} average", [scores[f"{mean}_{measure}"] for measure in MEASURES]))
    return rows


def check_finite(logits: np.ndarray, ids: list[str], split: str) -> None:
    """Check the logits (N, C) of the posts of a split.

    Raises:
        ValueError: If logits are not finite. The message names the posts.
    """
    if unscored := [ids[row] for row in (~np.isfinite(logits).all(1)).nonzero()[0]]:
        raise ValueError(f"{split}: the scores of {len(unscored)} posts are not finite: {join_names(unscored)}")


def wilson_interval(share: float, count: int) -> list[float]:
    """Return the 95 % interval [low, high] of a share that was measured on `count` posts (Wilson's interval)."""
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def majority_score(train_labels: list[int], references: list[int], label_names: list[str]) -> dict:
    """Return the scores of always predicting the most frequent training class, and its name as `label`."""
    most_frequent = Counter(train_labels).most_common(1)[0][0]
    scores = score(np.full(len(references), most_frequent), references, label_names)
    return scores | {"label": label_names[most_frequent]}
