"""Find pairs of similar texts and images without comparing each with each. The results are exact.

Memory grows with the number of texts and images. Time also grows with the number of candidates, which is small unless
thousands of different texts or images are nearly the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SHINGLE = 5  # Length of a shingle in characters.
NEAR_TEXT = 0.8  # Texts are near-duplicates if the Jaccard similarity of their shingles is at least this.
NEAR_IMAGE = 4  # Images are near-duplicates if at most so many of the 64 bits of their perceptual hashes differ,
NEAR_COLOUR = 10  # and their 8 x 8 thumbnails differ by at most this on average, of 255.

BATCH = 5_000  # Texts whose shingles are in memory at once.
BLOCK = 2**20  # Candidate pairs in memory at once.
COUNTERS = 2**22  # Shingles are counted by a part of their hash, because only a rough order of rarity is needed.


def shingles(text: str) -> set[str]:
    """Return the substrings of `SHINGLE` characters; a shorter text is its own only shingle."""
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def near_texts(one: Sequence[str], other: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs (index in `one`, index in `other`) of texts whose Jaccard similarity is at least `NEAR_TEXT`.

    This is a set-similarity join with prefix and position filters (Xiao et al., Efficient Similarity Joins for
    Near-Duplicate Detection, TODS 2011). All shingles have one order, the rare ones first. If two texts share enough
    shingles, they share one of the first few: those beyond a share of `NEAR_TEXT`. Only texts that share such a
    shingle are candidates, which are then compared exactly.
    """
    if not one or not other:
        return
    counts = np.zeros(COUNTERS, np.int64)
    for texts in (one, other):
        for start in range(0, len(texts), BATCH):
            hashes, _ = _shingle_hashes(texts[start : start + BATCH])
            counts += np.bincount(hashes % COUNTERS, minlength=COUNTERS)
    rarity = np.log2(np.maximum(counts, 1)).astype(np.uint64)
    (left, right), sizes = zip(*(_prefixes(texts, rarity) for texts in (one, other)), strict=True)
    for a, b in _equal_keys(left["key"], right["key"]):
        a, b = left[a], right[b]
        size, other_size = sizes[0][a["text"]], sizes[1][b["text"]]
        overlap = NEAR_TEXT / (1 + NEAR_TEXT) * (size + other_size) - 1e-6  # what such a pair shares at least
        # The first shingle that two texts share is followed by all others that they share.
        possible = np.minimum(size - a["position"], other_size - b["position"]) >= overlap
        pairs = np.unique(a["text"][possible] * len(other) + b["text"][possible])
        for index, candidates in _grouped(pairs // len(other), pairs % len(other)):
            own = shingles(one[index])
            for candidate in candidates:
                found = shingles(other[candidate])
                if len(own & found) >= NEAR_TEXT * len(own | found):
                    yield index, candidate


def _shingle_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 64-bit hash of every shingle, and the index of its text."""
    joined = "".join(text.ljust(SHINGLE, "\0") for text in texts)
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.array([max(len(text), SHINGLE) for text in texts], np.int64)
    counts = lengths - SHINGLE + 1
    index = np.repeat(np.arange(len(texts)), counts)
    # The shingles of a text begin one after the other; between two texts, SHINGLE - 1 characters begin none.
    starts = np.arange(len(index)) + (SHINGLE - 1) * index
    hashes = np.zeros(len(index), np.uint64)
    for place in range(SHINGLE):
        hashes = (hashes ^ points[starts + place]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    return hashes, index


def _prefixes(texts: Sequence[str], rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first shingles of each text in the order of rarity, and the number of different shingles by text."""
    parts, sizes = [], []
    for start in range(0, len(texts), BATCH):
        hashes, index = _shingle_hashes(texts[start : start + BATCH])
        keys = rarity[hashes % COUNTERS] << np.uint64(58) | hashes >> np.uint64(6)
        order = np.lexsort((keys, index))
        keys, index = keys[order], index[order]
        first = np.ones(len(keys), bool)
        first[1:] = (keys[1:] != keys[:-1]) | (index[1:] != index[:-1])
        keys, index = keys[first], index[first]
        size = np.bincount(index)
        position = np.arange(len(keys)) - (np.cumsum(size) - size)[index]
        prefix = position <= size[index] - np.ceil(NEAR_TEXT * size[index] - 1e-6)
        part = np.empty(prefix.sum(), [("key", np.uint64), ("text", np.int64), ("position", np.int32)])
        part["key"], part["text"], part["position"] = keys[prefix], index[prefix] + start, position[prefix]
        parts.append(part)
        sizes.append(size)
    return np.concatenate(parts), np.concatenate(sizes)


def near_images(one: Sequence[tuple], other: Sequence[tuple]) -> Iterator[tuple[int, int]]:
    """Yield the pairs (index in `one`, index in `other`) of images that are nearly the same.

    Args:
        one: (perceptual hash, thumbnail) of each image.
        other: The same of the other images.
    """
    hashes = [np.array([phash for phash, _ in images], np.uint64) for images in (one, other)]
    thumbnails = [np.array([thumbnail for _, thumbnail in images], np.int16) for images in (one, other)]
    for a, b in _near_hashes(*hashes):
        for start in range(0, len(a), BATCH):
            part = slice(start, start + BATCH)
            differences = np.abs(thumbnails[0][a[part]] - thumbnails[1][b[part]])
            near = differences.reshape(len(differences), -1).mean(axis=1) <= NEAR_COLOUR
            yield from zip(a[part][near].tolist(), b[part][near].tolist(), strict=True)


def _near_hashes(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of all pairs of hashes of which at most `NEAR_IMAGE` bits differ, each pair once.

    The 64 bits are cut into one band more than bits may differ, so that at least one band is the same (multi-index
    hashing: Norouzi et al., Fast Search in Hamming Space, CVPR 2012).
    """
    edges = np.linspace(0, 64, NEAR_IMAGE + 2).astype(int).tolist()
    bands = [np.uint64(2**high - 2**low) for low, high in zip(edges, edges[1:], strict=False)]
    for number, band in enumerate(bands):
        for a, b in _equal_keys(one & band, other & band):
            difference = one[a] ^ other[b]
            near = np.bitwise_count(difference) <= NEAR_IMAGE
            for earlier in bands[:number]:  # Such a pair was found by the earlier band.
                near &= (difference & earlier) != 0
            yield a[near], b[near]


def _equal_keys(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of all pairs with the same key, about `BLOCK` pairs at a time, in the order of `one`."""
    order = np.argsort(other, kind="stable")
    keys = other[order]
    starts, ends = np.searchsorted(keys, one, "left"), np.searchsorted(keys, one, "right")
    totals = np.cumsum(ends - starts)
    begin = 0
    while begin < len(one):
        done = totals[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(totals, done + BLOCK, "right")))
        counts = ends[begin:end] - starts[begin:end]
        a = np.repeat(np.arange(begin, end), counts)
        b = np.arange(len(a)) + np.repeat(starts[begin:end] - (totals[begin:end] - counts - done), counts)
        yield a, order[b]
        begin = end


def _grouped(keys: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Yield each key of a sorted array with its values."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=False):
        yield int(keys[start]), values[start:end].tolist()
