"""Pairs of similar texts and images: the same ones as by comparing each with each."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsent.dataset_scripts import common_similarity
from mmsent.dataset_scripts.common_leaks import (
    MAX_EXAMPLES,
    MAX_REPEATS,
    ImageHashes,
    Traces,
    find_leaks,
    normalise,
)
from mmsent.dataset_scripts.common_similarity import (
    NEAR_COLOUR,
    NEAR_IMAGE,
    NEAR_TEXT,
    near_images,
    near_texts,
    shingles,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Let a few texts and pairs fill several batches and blocks, and many shingles share a counter."""
    for name, value in {"BATCH": 3, "BLOCK": 5, "COUNTERS": 8}.items():
        monkeypatch.setattr(common_similarity, name, value)


def near_texts_by_definition(one: list[str], other: list[str]) -> set[tuple[int, int]]:
    return {
        (i, j)
        for (i, a), (j, b) in product(enumerate(map(shingles, one)), enumerate(map(shingles, other)))
        if len(a & b) >= NEAR_TEXT * len(a | b)
    }


SENTENCE = "the quick brown fox jumps over the lazy dog"
# Sentences with up to three changed characters are above the threshold, below it, and exactly on it.
CHANGED = st.builds(
    lambda changes, end: "".join(changes.get(i, sign) for i, sign in enumerate(SENTENCE[:end])),
    st.dictionaries(st.integers(0, len(SENTENCE)), st.sampled_from("xy"), max_size=3),
    st.integers(0, len(SENTENCE)),
)
TEXTS = st.lists(st.one_of(st.text("abc ", max_size=14), st.text(max_size=8), CHANGED), max_size=8)


@given(TEXTS, TEXTS)
@example(["abcdefghi"], ["abcdefgh"])  # four of five shingles
@settings(deadline=None, max_examples=200)
def test_near_texts(one, other):
    assert set(near_texts(one, other)) == near_texts_by_definition(one, other)


def random_looks(rng: np.random.Generator, count: int, flips: int) -> list[tuple[int, np.ndarray]]:
    """Return hashes of which a few bits of three patterns are flipped, and thumbnails of a few grey values."""
    looks = []
    for _ in range(count):
        pattern = [0, 2**64 - 1, 0x123456789ABCDEF0][rng.integers(3)]
        for bit in rng.integers(0, 64, rng.integers(flips + 1)):
            pattern ^= 1 << int(bit)
        looks.append((pattern, np.full(192, rng.choice([0, NEAR_COLOUR, NEAR_COLOUR + 1, 255]), np.int16)))
    return looks


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 12), st.integers(0, 6))
@settings(deadline=None, max_examples=100)
def test_near_images(seed, count, other_count, flips):
    rng = np.random.default_rng(seed)
    one, other = random_looks(rng, count, flips), random_looks(rng, other_count, flips)
    expected = [
        (i, j)
        for (i, (a, thumbnail)), (j, (b, other_thumbnail)) in product(enumerate(one), enumerate(other))
        if (a ^ b).bit_count() <= NEAR_IMAGE and np.abs(thumbnail - other_thumbnail).mean() <= NEAR_COLOUR
    ]
    assert sorted(near_images(one, other)) == expected


WORDS = st.sampled_from(
    ["", "Good day", "good day!", "@me good day", "good night everybody", "good night everybody!!"]
)
IMAGE = st.builds(
    lambda file, phash, grey: ImageHashes(bytes([file]), phash, np.full((8, 8, 3), grey, np.int16)),
    st.integers(0, 3),
    st.sampled_from([0, 1, 31, 63]),
    st.sampled_from([0, 10, 20]),
)
POSTS = st.lists(
    st.tuples(WORDS, st.sampled_from([None, "a", "b"]), st.lists(st.none() | IMAGE, max_size=2)), max_size=8
)


def traces(posts: list[tuple]) -> Traces:
    texts, groups, images = (list(column) for column in zip(*posts, strict=True)) if posts else ([], [], [])
    return Traces(list(map(str, range(len(posts)))), groups, texts, list(map(normalise, texts)), images)


def leaks_by_definition(one: Traces, other: Traces) -> dict[str, set]:
    """Compare each row with each other row, as the definitions of the kinds say."""

    def pairs(same, left, right):
        return {(i, j) for (i, a), (j, b) in product(enumerate(left), enumerate(right)) if a and b and same(a, b)}

    def kept(posts: list) -> list:
        names = [{image.file_hash for image in images if image} for images in one.images + other.images]
        return [
            [i for i in images if i and sum(i.file_hash in name for name in names) <= MAX_REPEATS] for images in posts
        ]

    def near(a, b):
        similar = (a.phash ^ b.phash).bit_count() <= NEAR_IMAGE
        return similar and np.abs(a.thumbnail - b.thumbnail).mean() <= NEAR_COLOUR

    images = kept(one.images), kept(other.images)
    exact = pairs(str.__eq__, one.texts, other.texts)
    normalised = pairs(str.__eq__, one.normalised, other.normalised)
    identical = pairs(lambda a, b: any(i.file_hash == j.file_hash for i, j in product(a, b)), *images)
    close = {
        (i, j)
        for i, j in near_texts_by_definition(one.normalised, other.normalised)
        if one.normalised[i] and other.normalised[j]
    }
    return {
        "group": pairs(str.__eq__, one.groups, other.groups),
        "exact_text": exact,
        "normalised_text": normalised - exact,
        "near_text": close - normalised - exact,
        "identical_image": identical,
        "near_image": pairs(lambda a, b: any(near(i, j) for i, j in product(a, b)), *images) - identical,
    }


SAME_IMAGE = ImageHashes(b"a", 0, np.zeros((8, 8, 3), np.int16))


@given(POSTS, POSTS)
@example([("", None, [SAME_IMAGE] * 2)] * 3, [("", None, [SAME_IMAGE] * 2)] * 3)  # twice in one post
@settings(deadline=None, max_examples=200)
def test_all_kinds_of_leaks(one, other):
    one, other = traces(one), traces(other)
    for kind, leak in find_leaks(one, other).items():
        pairs = leaks_by_definition(one, other)[kind]
        assert leak == ({a for a, _ in pairs}, {b for _, b in pairs}, sorted(pairs)[:MAX_EXAMPLES]), kind


def test_thousands_of_equal_posts_are_not_millions_of_pairs(monkeypatch):
    """Black images whose files differ, a text that everybody writes, and one review."""
    monkeypatch.undo()
    black = np.zeros((8, 8, 3), np.int16)
    sides = []
    for side in range(2):
        images = [[ImageHashes(f"{side} {row}".encode(), 1 << 63, black)] for row in range(20_000)]
        ids = list(map(str, range(20_000)))
        sides.append(Traces(ids, ["a"] * 20_000, [f"LOL{'!' * side}"] * 20_000, ["lol"] * 20_000, images))
    leaks = find_leaks(*sides)
    for kind in ("group", "normalised_text", "near_image"):
        assert leaks[kind] == (set(range(20_000)), set(range(20_000)), [(0, row) for row in range(MAX_EXAMPLES)])
