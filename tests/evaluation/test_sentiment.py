"""The `evaluate` module `sentiment`."""

import warnings

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support
from tiny import ROOT

from mmsent.evaluation.sentiment.sentiment import Sentiment

NAMES = ["negative", "neutral", "positive"]


def compute(predictions, references):
    return Sentiment(keep_in_memory=True).compute(predictions=predictions, references=references, label_names=NAMES)


def test_scores_computed_by_hand():
    scores = compute([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0])
    assert scores["confusion_matrix"] == [[1, 0, 1], [1, 1, 0], [0, 0, 2]]
    assert scores["accuracy"] == pytest.approx(4 / 6)
    by_hand = {"negative": (1 / 2, 1 / 2), "neutral": (1, 1 / 2), "positive": (2 / 3, 1)}
    for name, (precision, recall) in by_hand.items():
        assert scores[f"precision_{name}"] == pytest.approx(precision)
        assert scores[f"recall_{name}"] == pytest.approx(recall)
    assert scores["macro_precision"] == scores["weighted_precision"] == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    assert scores["macro_recall"] == scores["weighted_recall"] == pytest.approx(2 / 3)
    assert scores["f1_negative"] == pytest.approx(1 / 2)
    assert scores["f1_neutral"] == pytest.approx(2 / 3)
    assert scores["f1_positive"] == pytest.approx(4 / 5)
    assert scores["macro_f1"] == scores["weighted_f1"] == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_the_scores_are_those_of_scikit_learn(pairs):
    """Also where classes have no posts or no predictions, which scikit-learn would warn of by default."""
    predictions, references = zip(*pairs, strict=True)
    with warnings.catch_warnings(action="error"):
        scores = compute(predictions, references)
    for average in ("macro", "weighted", None):
        expected = precision_recall_fscore_support(
            references, predictions, labels=[0, 1, 2], average=average, zero_division=0
        )
        for measure, values in zip(("precision", "recall", "f1"), expected, strict=False):
            keys = [f"{average}_{measure}"] if average else [f"{measure}_{name}" for name in NAMES]
            assert [scores[key] for key in keys] == pytest.approx(np.atleast_1d(values))
    assert scores["weighted_recall"] == pytest.approx(scores["accuracy"])


def test_the_positive_class_of_two_is_the_one_of_this_name():
    metric = Sentiment(keep_in_memory=True)
    for names, positive in ((["negative", "positive"], 1), (["positive", "negative"], 0)):
        predictions, references = [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]
        scores = metric.compute(predictions=predictions, references=references, label_names=names)
        expected = precision_recall_fscore_support(references, predictions, average="binary", pos_label=positive)
        measured = [scores[f"{measure}_positive"] for measure in ("precision", "recall", "f1")]
        assert measured == pytest.approx(expected[:3])


def test_a_class_that_the_split_lacks_counts_in_macro_f1():
    scores = compute([0, 2], [0, 2])
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    assert scores["weighted_f1"] == 1
    assert scores["confusion_matrix"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("predictions", "references"), [([3], [0]), ([0], [-1])])
def test_an_index_out_of_range_is_an_error(predictions, references):
    with pytest.raises(ValueError, match=r"the classes are 0\.\.2"):
        compute(predictions, references)


def test_the_module_loads_by_its_path_without_a_network():
    metric = evaluate.load(str(ROOT / "src" / "mmsent" / "evaluation" / "sentiment"), keep_in_memory=True)
    assert metric.compute(predictions=[1], references=[1], label_names=NAMES)["accuracy"] == 1
