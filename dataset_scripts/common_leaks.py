"""Find posts that two splits share, exactly or nearly. An audit counts them; a clean variant drops them."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image

from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.modeling.common_text import prepare_text

from .common_processes import process_map
from .common_schema import TARGET
from .common_similarity import NEAR_IMAGE, NEAR_TEXT, SHINGLE, near_images, near_texts

MAX_EXAMPLES = 10  # Number of pairs that are kept of each kind.
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
# Rows of one split and rows of the other, in ascending order, each of which is the same as each of the other. A text
# that occurs 1,000 times in both splits is one group and not a million pairs.
Group = tuple[list[int], list[int]]


class Leak(NamedTuple):
    """What two splits share in one way.

    Args:
        first: Rows of the first split.
        second: Rows of the second split.
        examples: The first `MAX_EXAMPLES` of all pairs (row of the first split, row of the second split).
    """

    first: set[int]
    second: set[int]
    examples: list[tuple[int, int]]


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

        rows = list(process_map(_trace, posts, total, f"{name}: reading posts"))
        return cls(*(list(column) for column in zip(*rows, strict=True))) if rows else cls()


def _trace(post: dict) -> tuple:
    images = [hash_image(image) for image in post["images"]]
    # Without the target, two tweets that differ only in it would be the same.
    text = (post["text"] or "").replace(TARGET, post["aspect"] or "")
    return post["id"], post.get("group"), text, normalise(text), images


def find_leaks(one: Traces, other: Traces) -> dict[str, Leak]:
    """Return, for each of `KINDS`, what two splits share.

    A kind does not have the pairs that a more certain kind of the same medium has.
    """
    texts, other_texts = _rows_of(enumerate(one.texts)), _rows_of(enumerate(other.texts))
    normalised, other_normalised = _rows_of(enumerate(one.normalised)), _rows_of(enumerate(other.normalised))
    distinct, other_distinct = list(normalised), list(other_normalised)
    near = ((distinct[a], other_distinct[b]) for a, b in near_texts(distinct, other_distinct))
    return {
        "group": _leak(_shared(_rows_of(enumerate(one.groups)), _rows_of(enumerate(other.groups)))),
        "exact_text": _leak(_shared(texts, other_texts)),
        "normalised_text": _leak(_other_texts(one, other, normalised, other_normalised)),
        "near_text": _leak((normalised[a], other_normalised[b]) for a, b in near if a != b),
        **_image_leaks(one, other),
    }


def leaking_rows(train: Traces, others: Iterable[Traces]) -> set[int]:
    """Return the rows of the train split that leak into another split, which a clean variant drops."""
    return {row for other in others for leak in find_leaks(train, other).values() for row in leak.first}


def _rows_of(keys: Iterable[tuple[int, Hashable]]) -> dict[Hashable, list[int]]:
    """Return {key: rows}, each row once. An empty key says nothing, and is left out."""
    rows = defaultdict(list)
    for row, key in keys:
        if key and rows[key][-1:] != [row]:
            rows[key].append(row)
    return rows


def _shared(one: dict[Hashable, list[int]], other: dict[Hashable, list[int]]) -> Iterable[Group]:
    return ((rows, other[key]) for key, rows in one.items() if key in other)


def _leak(groups: Iterable[Group], excluded: set[tuple[int, int]] = frozenset()) -> Leak:
    """Return what groups have in common, without the excluded pairs."""
    first, second, examples = set(), set(), []
    for one, other in groups:
        first.update(a for a in one if any((a, b) not in excluded for b in other))
        second.update(b for b in other if any((a, b) not in excluded for a in one))
        pairs = (pair for pair in product(one, other) if pair not in excluded)
        examples = sorted({*examples, *islice(pairs, MAX_EXAMPLES)})[:MAX_EXAMPLES]
    return Leak(first, second, examples)


def _other_texts(one: Traces, other: Traces, normalised: dict, other_normalised: dict) -> Iterable[Group]:
    """Yield the groups of rows whose normalised texts are the same and whose texts are not."""
    for rows, other_rows in _shared(normalised, other_normalised):
        texts = _rows_of((row, one.texts[row]) for row in rows)
        for text, text_rows in texts.items():
            if remaining := [row for row in other_rows if other.texts[row] != text]:
                yield text_rows, remaining


def _image_leaks(one: Traces, other: Traces) -> dict[str, Leak]:
    """Return what two splits share in identical images, and in images that are only nearly the same."""
    count = Counter()
    for images in one.images + other.images:
        count.update({image.file_hash for image in images if image})
    files, looks = [], []
    for traces in (one, other):
        significant = [
            (row, image)
            for row, images in enumerate(traces.images)
            for image in images
            if image and count[image.file_hash] <= MAX_REPEATS
        ]
        files.append(_rows_of((row, image.file_hash) for row, image in significant))
        decoded = ((row, image) for row, image in significant if image.thumbnail is not None)
        looks.append(_rows_of((row, (image.phash, image.thumbnail.tobytes())) for row, image in decoded))
    # An image is in few posts, so that these pairs are few, too.
    identical = {pair for group in _shared(*files) for pair in product(*group)}
    hashes = [[(phash, np.frombuffer(content, np.int16)) for phash, content in side] for side in looks]
    rows, other_rows = (list(side.values()) for side in looks)
    near = ((rows[a], other_rows[b]) for a, b in near_images(*hashes))
    return {"identical_image": _leak(_shared(*files)), "near_image": _leak(near, identical)}
