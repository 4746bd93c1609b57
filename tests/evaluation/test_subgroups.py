"""Groups of posts and their scores."""

import numpy as np
import pytest
import tiny
from datasets import ClassLabel, Dataset, Features

from mmsent.dataset_scripts.common_schema import features as corpus_features
from mmsent.evaluation.scores import wilson_interval
from mmsent.evaluation.subgroups import subgroup_scores, subgroups


def posts(**columns) -> Dataset:
    picture = tiny.picture(0)
    rows = {
        "text": ["a", " ", "c", "d"],
        "images": [[picture], [], [picture, picture], [picture]],
        "aspect": [None] * 4,
        "text_label": [0, 1, 2, 2],
        "image_label": [0, 2, 2, 2],
        **columns,
    }
    features = corpus_features() | {"decided_by": ClassLabel(names=["text", "both"])}
    return Dataset.from_dict(rows, features=Features({name: features[name] for name in rows}))


def test_groups_of_posts():
    assert {name: rows.tolist() for name, rows in subgroups(posts()).items()} == {
        "text and image labels agree": [0, 2, 3],
        "text and image labels differ": [1],
        "no text": [1],
        "no picture": [1],
        "several pictures": [2],
    }


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("decided_by", [0, 1, 1, 0], ["decided_by = both", "decided_by = text"]),
        ("aspect", ["screen", "battery", "screen", "screen"], ["aspect = battery", "aspect = screen"]),
    ],
)
def test_values_of_a_column_form_groups(column, values, names):
    assert list(subgroups(posts(**{column: values})))[:2] == names


def test_a_group_of_all_posts_is_left_out():
    assert subgroups(posts(text_label=[None] * 4, images=[[]] * 4, text=["a"] * 4)) == {}


def test_scores_of_groups():
    scores = subgroup_scores(posts(), np.array([0, 0, 2, 1]), [0, 1, 2, 2])
    assert scores["text and image labels agree"] == {
        "posts": 3,
        "accuracy": pytest.approx(2 / 3),
        "accuracy_interval": wilson_interval(2 / 3, 3),
    }
    assert scores["no text"]["accuracy"] == 0
