"""The `evaluate` module `sentiment`."""

import evaluate
import pytest
from tiny import ROOT

from mmsent.evaluation.sentiment.sentiment import Sentiment

NAMES = ["negative", "neutral", "positive"]


def compute(predictions, references):
    return Sentiment(keep_in_memory=True).compute(predictions=predictions, references=references, label_names=NAMES)


def test_scores_computed_by_hand():
    scores = compute([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0])
    assert scores["confusion_matrix"] == [[1, 0, 1], [1, 1, 0], [0, 0, 2]]
    assert scores["accuracy"] == pytest.approx(4 / 6)
    # Precision and recall: negative 1/2, 1/2; neutral 1, 1/2; positive 2/3, 1.
    assert scores["f1_negative"] == pytest.approx(1 / 2)
    assert scores["f1_neutral"] == pytest.approx(2 / 3)
    assert scores["f1_positive"] == pytest.approx(4 / 5)
    assert scores["macro_f1"] == scores["weighted_f1"] == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)


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
