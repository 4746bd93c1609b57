"""Split files, which list the ids of each split, and splits by hash."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from .common_files import content_hash

SPLIT_FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
CHECKSUMS = "SHA256SUMS"  # The format is that of sha256sum: `sha256sum -c SHA256SUMS` checks the files too.


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Return the ids of each split from the split files in a folder, after a check of their checksums."""
    lines = (folder / CHECKSUMS).read_text().splitlines()
    checksums = {name: checksum for checksum, name in map(str.split, lines)}
    for name in SPLIT_FILES.values():
        if content_hash(folder / name) != checksums[name]:
            raise ValueError(
                f"{folder / name} does not match its checksum in {CHECKSUMS}, so results on it are not comparable "
                "with other results; restore the file from the repository"
            )
    return {split: (folder / name).read_text().split() for split, name in SPLIT_FILES.items()}


def write_splits(folder: Path, splits: Mapping[str, Iterable[str]]) -> None:
    """Write the split files and their checksums. This is done once, before a split is committed."""
    folder.mkdir(parents=True, exist_ok=True)
    checksums = ""
    for split, name in SPLIT_FILES.items():
        (folder / name).write_bytes("".join(f"{post_id}\n" for post_id in splits[split]).encode())
        checksums += f"{content_hash(folder / name)}  {name}\n"
    (folder / CHECKSUMS).write_bytes(checksums.encode())


def hash_position(key: str) -> float:
    """Return a number from 0 to 1 that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64


def hash_split(key: str, shares: Mapping[str, float]) -> str:
    """Return the split of a post, which depends on a hash of its key alone.

    A post is therefore in the same split whichever other posts exist: the splits of a partial copy are parts of the
    splits of a complete copy.

    Args:
        shares: The share of each split. The shares add up to one.
    """
    position = hash_position(key)
    for split, share in shares.items():
        position -= share
        if position < 0:
            return split
    return split
