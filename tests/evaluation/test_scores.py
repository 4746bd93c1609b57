"""Scores, their intervals and the majority class."""

import numpy as np
import pytest

from mmsent.evaluation.scores import class_rows, majority_score, score, single_numbers, wilson_interval

NAMES = ["negative", "neutral", "positive"]


@pytest.mark.parametrize(("correct", "count"), [(315, 450), (5, 10), (30, 30), (0, 5)])
def test_wilson_interval(correct, count):
    """The bounds p solve (p - share)² = z² p (1 - p) / count."""
    share = correct / count
    for bound in wilson_interval(share, count):
        assert (bound - share) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / count, abs=1e-9)


def test_scores():
    scores = score(np.array([0, 1, 2, 2]), [0, 1, 1, 2], NAMES)
    assert scores["accuracy"] == 0.75
    assert scores["accuracy_interval"] == wilson_interval(0.75, 4)


def test_rows_of_the_classes():
    scores = score(np.array([0, 1, 2, 2]), [0, 1, 1, 2], ["macro", "{a|b}", "positive"])
    rows = dict(class_rows(scores))
    assert list(rows) == ["macro", "{a|b}", "positive", "macro average", "weighted average"]
    assert rows["positive"] == [0.5, 1, pytest.approx(2 / 3)]
    assert rows["weighted average"] == [scores[f"weighted_{name}"] for name in ("precision", "recall", "f1")]
    assert class_rows({name: value for name, value in scores.items() if "f1" in name}) == []  # written long ago


def test_single_numbers():
    scores = score(np.array([0, 1, 2, 2]), [0, 1, 1, 2], NAMES)
    assert scores.keys() - single_numbers(scores).keys() == {"accuracy_interval", "confusion_matrix"}


def test_the_majority_class_is_that_of_the_training_split():
    scores = majority_score([2, 2, 0], [2, 1, 0, 2, 1, 1], NAMES)
    assert scores["label"] == "positive"
    assert scores["accuracy"] == pytest.approx(1 / 3)
