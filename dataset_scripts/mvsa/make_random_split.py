"""The script that made `splits/*/random`: `python -m mmsent.dataset_scripts.mvsa.make_random_split mvsa_single`."""

import sys
from collections.abc import Iterable

import numpy as np

from ..common_splits import read_splits, write_splits
from .mvsa import SPLITS


def random_split(ids: Iterable[str]) -> dict[str, list[str]]:
    """Split ids 8:1:1 at random, in the same way with every version of NumPy, whose RandomState is frozen.

    As in MultiSentiNet's code, whose lists of ids are not published, the last tenth is the test split and the tenth
    before it the validation split.
    """
    ids = sorted(ids, key=int)
    order = [ids[i] for i in np.random.RandomState(1337).permutation(len(ids))]
    tenth = len(ids) // 10
    splits = {"train": order[: -2 * tenth], "validation": order[-2 * tenth : -tenth], "test": order[-tenth:]}
    return {split: sorted(split_ids, key=int) for split, split_ids in splits.items()}


if __name__ == "__main__":
    release = SPLITS / sys.argv[1]
    listed = read_splits(release / "clmlf")
    write_splits(release / "random", random_split(post_id for ids in listed.values() for post_id in ids))
