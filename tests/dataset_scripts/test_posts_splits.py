"""Drawn splits: the same for any order of the rows, groups on one side, classes in their shares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsent.dataset_scripts.posts.drawn_splits import components, draw_splits, quotas
from mmsent.dataset_scripts.posts.index import hash_of
from mmsent.dataset_scripts.posts.labels import Labels, label_order

SHARES = (0.8, 0.1, 0.1)
tables = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=120)


def draw(ids: list[int], rows: list[tuple[int, int, int]], shares=SHARES, seed=0) -> dict[int, int]:
    """Return the split of each id. A row is a label and two keys; rows with a common key belong together."""
    hashes = np.array([hash_of(str(seed), str(i)) for i in ids], dtype=np.uint64)
    numbers = np.arange(len(rows))
    ties = [(numbers, np.array([row[key] for row in rows], dtype=np.uint64)) for key in (1, 2)]
    groups = components(len(rows), ties)
    splits, _ = draw_splits(hashes, np.array([row[0] for row in rows]), groups, shares)
    return dict(zip(ids, splits.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_groups_never_straddle(rows, random):
    ids = list(range(len(rows)))
    splits = draw(ids, rows)
    assert set(splits.values()) <= {0, 1, 2}
    shuffled = random.sample(ids, len(ids))
    assert draw(shuffled, [rows[i] for i in shuffled]) == splits
    for key in (1, 2):
        for value in {row[key] for row in rows}:
            assert len({splits[i] for i, row in enumerate(rows) if row[key] == value}) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=150), st.integers(0, 5))
def test_single_posts_are_stratified_within_one_post(labels, seed):
    rows = [(label, i, i) for i, label in enumerate(labels)]
    splits = draw(list(range(len(rows))), rows, seed=seed)
    for label in set(labels):
        mine = [splits[i] for i, own in enumerate(labels) if own == label]
        for split, share in enumerate(SHARES):
            assert abs(mine.count(split) - share * len(mine)) < 1


def test_groups_keep_the_shares_too():
    rows = [(i // 3 % 2, i // 3, i // 3) for i in range(600)]  # groups of three
    splits = list(draw(list(range(600)), rows).values())
    assert [abs(splits.count(split) - share * 600) <= 3 for split, share in enumerate(SHARES)] == [True] * 3
    assert splits != list(draw(list(range(600)), rows, seed=1).values())


def test_added_posts_move_few_others():
    rows = [(i % 2, i, i) for i in range(1100)]
    before, after = draw(list(range(1000)), rows[:1000]), draw(list(range(1100)), rows)
    assert sum(before[i] != after[i] for i in before) < 50


def test_rounding_in_one_class_is_made_up_for_in_the_next():
    assert quotas([4, 4], SHARES).tolist() == [[3, 1, 0], [3, 0, 1]]
    assert quotas([1, 10, 0], SHARES).tolist() == [[1, 0, 0], [8, 1, 1], [0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["Good", "bad", "1", "-1", "zwei Wörter", "5"]), min_size=1, max_size=30), st.data())
def test_labels_survive_blanks_and_case(words, data):
    cells = [data.draw(st.sampled_from([word, f" {word} ", word.upper()])) for word in words]
    labels = Labels()
    codes = [labels.code(cell) for cell in cells]
    names = [labels.name(cell) for cell in cells]
    assert [name.casefold() for name in names] == [word.casefold() for word in words]
    assert [list(labels.name_of_key.values())[code] for code in codes] == names
    assert sorted(labels.names()) == sorted(set(names))
    assert len(labels.names()) == len({word.casefold() for word in words})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "-1", "0.5"], ["-1", "0.5", "9", "10"]),
        (["Positive", "negative", "Neutral"], ["negative", "Neutral", "Positive"]),
        (["pos", "neg"], ["neg", "pos"]),
        (
            ["very_positive", "positive", "neutral", "very negative"],
            ["very negative", "neutral", "positive", "very_positive"],
        ),
        (["positive", "angry"], ["angry", "positive"]),
    ],
)
def test_the_order_of_classes(names, expected):
    assert label_order(names) == expected
