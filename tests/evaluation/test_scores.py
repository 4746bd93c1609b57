"""Intervals and groups of posts."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from mmsent.evaluation.scores import majority_score, score, subgroup_scores, subgroups, wilson_interval

NAMES = ["negative", "neutral", "positive"]


def test_wilson_interval():
    """Against the bounds that solve (p - p̂)² = z² p (1 - p) / n."""
    for share, count in ((0.7, 450), (0.5, 10), (1.0, 30), (0.0, 5)):
        for bound in wilson_interval(share, count):
            assert (bound - share) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / count, abs=1e-9)
    low, high = wilson_interval(1.0, 30)
    assert (low, high) == (pytest.approx(0.8865, abs=1e-4), 1.0)


@given(st.integers(1, 5000), st.data())
def test_an_interval_holds_its_share(count, data):
    share = data.draw(st.integers(0, count)) / count
    low, high = wilson_interval(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert low < high


def test_scores():
    scores = score(np.array([0, 1, 2, 2]), [0, 1, 1, 2], NAMES)
    assert scores["accuracy"] == 0.75
    assert scores["accuracy_interval"] == wilson_interval(0.75, 4)
    floor = majority_score([2, 2, 0], [2, 1, 0, 2], NAMES)
    assert floor["accuracy"] == 0.5


def posts(**columns) -> Dataset:
    picture = PILImage.new("RGB", (4, 4))
    rows = {
        "text": ["a", " ", "c", "d"],
        "images": [[picture], [], [picture, picture], [picture]],
        "aspect": [None] * 4,
        "text_label": [0, 1, 2, 2],
        "image_label": [0, 2, 2, 2],
        **columns,
    }
    features = {
        "text": Value("string"),
        "images": List(Image()),
        "aspect": Value("string"),
        "text_label": ClassLabel(names=NAMES),
        "image_label": ClassLabel(names=NAMES),
        "decided_by": ClassLabel(names=["text", "both"]),
    }
    return Dataset.from_dict(rows, features=Features({name: features[name] for name in rows}))


def test_groups_of_posts():
    got = {name: rows.tolist() for name, rows in subgroups(posts()).items()}
    assert got == {
        "text and image labels agree": [0, 2, 3],
        "text and image labels differ": [1],
        "no text": [1],
        "no picture": [1],
        "several pictures": [2],
    }
    assert list(subgroups(posts(decided_by=[0, 1, 1, 0])))[:2] == ["decided_by = both", "decided_by = text"]
    assert list(subgroups(posts(aspect=["screen", "battery", "screen", "screen"])))[:2] == [
        "aspect = battery",
        "aspect = screen",
    ]


def test_a_group_of_everybody_is_none():
    same = posts(text_label=[None] * 4, images=[[]] * 4, text=["a"] * 4)
    assert subgroups(same) == {}


def test_scores_of_groups():
    scores = subgroup_scores(posts(), np.array([0, 0, 2, 1]), [0, 1, 2, 2])
    assert scores["text and image labels agree"] == {
        "posts": 3,
        "accuracy": pytest.approx(2 / 3),
        "accuracy_interval": wilson_interval(2 / 3, 3),
    }
    assert scores["no text"]["accuracy"] == 0
