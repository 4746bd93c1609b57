"""Posts that two splits share, in full or nearly: what the audit counts and a clean variant drops from train."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import imagehash
import numpy as np
from datasketch import MinHash, MinHashLSH
from PIL import Image
from tqdm.contrib.concurrent import thread_map

from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.modeling.common_text import prepare_text

from .common_corpus import TARGET

SHINGLE = 5  # characters
NEAR_TEXT = 0.8  # Jaccard similarity of the texts' shingles, from which on they are near-duplicates
NEAR_IMAGE = 4  # bits of 64 in which the perceptual hashes of near-identical pictures may differ, and
NEAR_COLOUR = 10  # how far, of 255, their 8 × 8 thumbnails may be apart on average
STAND_IN = 10  # a picture in more posts than this says nothing of a post: "image not found", a shop's banner

# The ways in which two posts of different splits can be one, the surest first.
KINDS = {
    "group": "the same tweet, review or photo",
    "exact_text": "the same text, letter for letter",
    "normalised_text": "the same text but for links, mentions, case, signs",
    "near_text": f"nearly the same text (Jaccard >= {NEAR_TEXT} of {SHINGLE}-letter shingles)",
    "identical_image": "the same picture file",
    "near_image": f"nearly the same picture (perceptual hash within {NEAR_IMAGE} of 64 bits, colours alike)",
}


def normalise(text: str) -> str:
    """A text without what retweeting and reposting change: links, mentions, RT, case, signs, white space."""
    text = prepare_text(text, ["strip_links", "strip_mentions"])
    text = re.sub(r"\brt\b|[^\w\s]|_", " ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split())


@dataclass
class Picture:
    """What is kept of a picture: enough to find it again, identical or nearly so."""

    file_hash: bytes
    phash: int = 0
    thumbnail: np.ndarray | None = None  # (8, 8, 3) int16; None where it could not be decoded
    error: str = ""


def look_at(image: dict | str) -> Picture | None:
    """Read and decode a picture, once; None where there is no such file."""
    if isinstance(image, str):
        image = {"path": image, "bytes": None}
    raw = image["bytes"]
    if raw is None:
        try:
            with open(image["path"], "rb") as file:  # noqa: PTH123  (a path object for each picture costs more than the hash)
                raw = file.read()
        except FileNotFoundError:
            return None
    picture = Picture(hashlib.sha256(raw).digest())
    try:
        decoded = load_image({"path": image["path"], "bytes": raw})
    except BadImageError as error:
        picture.error = str(error)
        return picture
    picture.phash = int(str(imagehash.phash(decoded)), 16)
    picture.thumbnail = np.asarray(decoded.resize((8, 8), Image.Resampling.BOX), dtype=np.int16)
    return picture


@dataclass
class Traces:
    """Of each post of a split, in order: its id, group, text, and pictures."""

    ids: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    normalised: list[str] = field(default_factory=list)
    pictures: list[list[Picture | None]] = field(default_factory=list)

    @classmethod
    def of(cls, posts: Iterable[dict], total: int, name: str) -> "Traces":
        """Read every text and picture of `posts`, rows of a corpus whose pictures are paths or `{"bytes", "path"}`."""

        def trace(post: dict) -> tuple:
            pictures = [look_at(image) for image in post["images"]]
            # Tweets that differ in their target alone are not the same.
            text = (post["text"] or "").replace(TARGET, post["aspect"] or "")
            return post["id"], post.get("group"), text, normalise(text), pictures

        rows = thread_map(trace, posts, total=total, desc=f"{name}: reading posts", max_workers=4, leave=False)
        return cls(*(list(column) for column in zip(*rows, strict=True))) if rows else cls()


def find_leaks(one: Traces, other: Traces) -> dict[str, list[tuple[int, int]]]:
    """For each of `KINDS` the pairs (row of `one`, row of `other`) that are one post, or nearly.

    Each kind holds what the surer kind before it, of the same medium, does not: a pair with the same text is not
    listed again as nearly the same.
    """
    exact = _equal(_keys(one.texts), _keys(other.texts))
    normalised = _equal(_keys(one.normalised), _keys(other.normalised)) - exact
    identical, near = _same_pictures(one, other)
    leaks = {
        "group": _equal(_keys(one.groups), _keys(other.groups)),
        "exact_text": exact,
        "normalised_text": normalised,
        "near_text": _near_texts(one.normalised, other.normalised) - exact - normalised,
        "identical_image": identical,
        "near_image": near - identical,
    }
    return {kind: sorted(pairs) for kind, pairs in leaks.items()}


def leaking_rows(train: Traces, others: Iterable[Traces]) -> dict[int, list[str]]:
    """The rows of the train split that leak into another split, and the kinds of leak: what a clean variant drops."""
    leaking: dict[int, list[str]] = {}
    for other in others:
        for kind, pairs in find_leaks(train, other).items():
            for row in sorted({row for row, _ in pairs}):
                leaking.setdefault(row, []).append(kind)
    return leaking


def _keys(values: list) -> list[tuple[int, object]]:
    return [(row, value) for row, value in enumerate(values) if value]


def _equal(one: Iterable[tuple[int, object]], other: Iterable[tuple[int, object]]) -> set[tuple[int, int]]:
    """Pairs of rows with the same key."""
    rows = defaultdict(list)
    for row, key in one:
        rows[key].append(row)
    return {(first, second) for second, key in other for first in rows.get(key, ())}


def _shingles(text: str) -> set[str]:
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def _near_texts(one: list[str], other: list[str]) -> set[tuple[int, int]]:
    """Pairs of rows whose shingles overlap: candidates from MinHash, then counted exactly."""

    def signature(text: str) -> MinHash:
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in _shingles(text)])
        return minhash

    # A lower threshold for the candidates: what MinHash underestimates must not be lost.
    index, rows_of = MinHashLSH(threshold=NEAR_TEXT - 0.2, num_perm=128), defaultdict(list)
    for row, text in _keys(other):
        if text not in rows_of:
            index.insert(text, signature(text), check_duplication=False)
        rows_of[text].append(row)
    pairs, candidates = set(), {}
    for row, text in _keys(one):
        if text not in candidates:
            shingles = _shingles(text)
            candidates[text] = [
                found
                for found in index.query(signature(text))
                if len(shingles & _shingles(found)) >= NEAR_TEXT * len(shingles | _shingles(found))
            ]
        pairs |= {(row, second) for found in candidates[text] for second in rows_of[found]}
    return pairs


def _same_pictures(one: Traces, other: Traces) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs of rows with the same picture, and with nearly the same."""
    posts = one.pictures + other.pictures
    count = Counter(file_hash for post in posts for file_hash in {picture.file_hash for picture in post if picture})

    def telling(traces: Traces) -> list[tuple[int, Picture]]:
        return [
            (row, picture)
            for row, post in enumerate(traces.pictures)
            for picture in post
            if picture and count[picture.file_hash] <= STAND_IN
        ]

    first, second = telling(one), telling(other)
    identical = _equal(((row, p.file_hash) for row, p in first), ((row, p.file_hash) for row, p in second))
    first, second = ([(row, p) for row, p in side if p.thumbnail is not None] for side in (first, second))
    near = set()
    if first and second:
        hashes = np.array([p.phash for _, p in second], dtype=np.uint64)
        for row, picture in first:
            for index in np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(picture.phash)) <= NEAR_IMAGE):
                found_row, found = second[index]
                if np.abs(picture.thumbnail - found.thumbnail).mean() <= NEAR_COLOUR:
                    near.add((row, found_row))
    return identical, near
