"""How `splits/*/random` was made: `python -m dataset_scripts.mvsa.make_random_split mvsa_single`, once."""

import sys
from collections.abc import Iterable

import numpy as np

from ..common_corpus import read_splits, write_splits
from .mvsa import SPLITS


def random_split(ids: Iterable[str]) -> dict[str, list[str]]:
    """8:1:1 at random: the last tenth is the test split, the tenth before it the validation split, as in
    MultiSentiNet's code (its id lists are not published). RandomState is NumPy's frozen generator: the same
    draw in every version."""
    ids = sorted(ids, key=int)
    order = [ids[i] for i in np.random.RandomState(1337).permutation(len(ids))]
    tenth = len(ids) // 10
    parts = {"train": order[: -2 * tenth], "validation": order[-2 * tenth : -tenth], "test": order[-tenth:]}
    return {split: sorted(part, key=int) for split, part in parts.items()}


if __name__ == "__main__":
    release = SPLITS / sys.argv[1]
    listed = read_splits(release / "clmlf")
    write_splits(release / "random", random_split(post_id for ids in listed.values() for post_id in ids))
