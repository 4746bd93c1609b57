"""Find posts that two splits share, exactly or nearly. An audit counts them; a clean variant drops them."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import imagehash
import numpy as np
from datasketch import MinHash, MinHashLSH
from PIL import Image
from tqdm.contrib.concurrent import thread_map

from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.modeling.common_text import prepare_text

from .common_schema import TARGET

SHINGLE = 5  # Length of a shingle in characters.
NEAR_TEXT = 0.8  # Texts are near-duplicates if the Jaccard similarity of their shingles is at least this.
NEAR_IMAGE = 4  # Images are near-duplicates if at most so many of the 64 bits of their perceptual hashes differ,
NEAR_COLOUR = 10  # and their 8 x 8 thumbnails differ by at most this on average, of 255.
MAX_REPEATS = 10  # An image in more posts than this says nothing about a post: "image not found", or an advertisement.

# How two posts of different splits can be the same, from the most to the least certain kind of each medium.
KINDS = {
    "group": "the same tweet, review or photo",
    "exact_text": "the same text, letter for letter",
    "normalised_text": "the same text except for links, mentions, case and punctuation",
    "near_text": f"nearly the same text (Jaccard >= {NEAR_TEXT} of {SHINGLE}-letter shingles)",
    "identical_image": "the same image file",
    "near_image": f"nearly the same image (perceptual hash within {NEAR_IMAGE} of 64 bits, similar colours)",
}
Pairs = set[tuple[int, int]]  # (row of one split, row of the other split)


def normalise(text: str) -> str:
    """Remove what reposting changes in a text: links, mentions, RT, case, punctuation, white space."""
    text = prepare_text(text, ["strip_links", "strip_mentions"])
    text = re.sub(r"\brt\b|[^\w\s]|_", " ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split())


@dataclass
class ImageHashes:
    """What identifies an image, exactly or nearly.

    Args:
        file_hash: SHA-256 of the file.
        phash: Perceptual hash, 64 bits.
        thumbnail: Array of shape (8, 8, 3) and type int16; None if the image cannot be decoded.
        error: Why it cannot be decoded.
    """

    file_hash: bytes
    phash: int = 0
    thumbnail: np.ndarray | None = None
    error: str = ""


def hash_image(image: dict | str) -> ImageHashes | None:
    """Read and decode an image once; return None if the file does not exist.

    Args:
        image: A path, or a `{"bytes", "path"}` dictionary.
    """
    path, content = (image, None) if isinstance(image, str) else (image["path"], image["bytes"])
    if content is None:
        if not Path(path).exists():
            return None
        if not Path(path).is_file():  # Reading a pipe or a device would never end.
            return ImageHashes(hashlib.sha256(path.encode()).digest(), error=f"{path}: it is not a regular file")
        content = Path(path).read_bytes()
    file_hash = hashlib.sha256(content).digest()
    try:
        decoded = load_image({"path": path, "bytes": content})
    except BadImageError as error:
        return ImageHashes(file_hash, error=str(error))
    thumbnail = np.asarray(decoded.resize((8, 8), Image.Resampling.BOX), dtype=np.int16)
    return ImageHashes(file_hash, int(str(imagehash.phash(decoded)), 16), thumbnail)


@dataclass
class Traces:
    """What identifies the posts of a split: one entry per post in each list, in the order of the split."""

    ids: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    normalised: list[str] = field(default_factory=list)
    images: list[list[ImageHashes | None]] = field(default_factory=list)

    @classmethod
    def of(cls, posts: Iterable[dict], total: int, name: str) -> "Traces":
        """Read every text and image of a split.

        Args:
            posts: Rows of a corpus, with images as paths or `{"bytes", "path"}` dictionaries.
            total: Number of posts, for the progress bar.
            name: Name of the split, for the progress bar.
        """

        def trace(post: dict) -> tuple:
            images = [hash_image(image) for image in post["images"]]
            # Without the target, two tweets that differ only in it would be the same.
            text = (post["text"] or "").replace(TARGET, post["aspect"] or "")
            return post["id"], post.get("group"), text, normalise(text), images

        rows = thread_map(trace, posts, total=total, desc=f"{name}: reading posts", max_workers=4, leave=False)
        return cls(*(list(column) for column in zip(*rows, strict=True))) if rows else cls()


def find_leaks(one: Traces, other: Traces) -> dict[str, list[tuple[int, int]]]:
    """Return, for each of `KINDS`, the pairs (row of `one`, row of `other`) that are the same post, or nearly.

    A kind does not list the pairs that a more certain kind of the same medium lists.
    """
    exact = _equal(_keys(one.texts), _keys(other.texts))
    normalised = _equal(_keys(one.normalised), _keys(other.normalised)) - exact
    identical, near = _same_images(one, other)
    leaks = {
        "group": _equal(_keys(one.groups), _keys(other.groups)),
        "exact_text": exact,
        "normalised_text": normalised,
        "near_text": _near_texts(one.normalised, other.normalised) - exact - normalised,
        "identical_image": identical,
        "near_image": near - identical,
    }
    return {kind: sorted(pairs) for kind, pairs in leaks.items()}


def leaking_rows(train: Traces, others: Iterable[Traces]) -> set[int]:
    """Return the rows of the train split that leak into another split, which a clean variant drops."""
    return {row for other in others for pairs in find_leaks(train, other).values() for row, _ in pairs}


def _keys(values: list) -> list[tuple[int, object]]:
    return [(row, value) for row, value in enumerate(values) if value]


def _equal(one: Iterable[tuple[int, object]], other: Iterable[tuple[int, object]]) -> Pairs:
    """Return the pairs of rows with the same key."""
    rows = defaultdict(list)
    for row, key in one:
        rows[key].append(row)
    return {(first, second) for second, key in other for first in rows.get(key, ())}


def _shingles(text: str) -> set[str]:
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def _near_texts(one: list[str], other: list[str]) -> Pairs:
    """Return the pairs of rows whose shingles overlap. MinHash gives candidates, which are then counted exactly."""

    def signature(text: str) -> MinHash:
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in _shingles(text)])
        return minhash

    # MinHash underestimates some similarities, so candidates need less than NEAR_TEXT.
    index, rows_of = MinHashLSH(threshold=NEAR_TEXT - 0.2, num_perm=128), defaultdict(list)
    for row, text in _keys(other):
        if text not in rows_of:
            index.insert(text, signature(text), check_duplication=False)
        rows_of[text].append(row)
    pairs, near = set(), {}
    for row, text in _keys(one):
        if text not in near:
            shingles = _shingles(text)
            near[text] = [
                candidate
                for candidate in index.query(signature(text))
                if len(shingles & _shingles(candidate)) >= NEAR_TEXT * len(shingles | _shingles(candidate))
            ]
        pairs |= {(row, second) for candidate in near[text] for second in rows_of[candidate]}
    return pairs


def _same_images(one: Traces, other: Traces) -> tuple[Pairs, Pairs]:
    """Return the pairs of rows with the same image, and the pairs with nearly the same image."""
    count = Counter()
    for images in one.images + other.images:
        count.update({image.file_hash for image in images if image})

    def significant(traces: Traces) -> list[tuple[int, ImageHashes]]:
        return [
            (row, image)
            for row, images in enumerate(traces.images)
            for image in images
            if image and count[image.file_hash] <= MAX_REPEATS
        ]

    first, second = significant(one), significant(other)
    identical = _equal(
        ((row, image.file_hash) for row, image in first), ((row, image.file_hash) for row, image in second)
    )
    first, second = ([(row, image) for row, image in side if image.thumbnail is not None] for side in (first, second))
    hashes = np.array([image.phash for _, image in second], dtype=np.uint64)
    near = set()
    for row, image in first:
        for index in np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(image.phash)) <= NEAR_IMAGE):
            other_row, candidate = second[index]
            if np.abs(image.thumbnail - candidate.thumbnail).mean() <= NEAR_COLOUR:
                near.add((row, other_row))
    return identical, near
