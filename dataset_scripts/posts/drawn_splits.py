"""Draw the splits of a table: stratified by label, and with all posts that belong together on one side."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ties = tuple[np.ndarray, np.ndarray]  # rows, and a key of each: rows with the same key belong together


def components(count: int, ties: Iterable[Ties]) -> np.ndarray:
    """Return for each of `count` rows the number of its group: rows that are tied, directly or through others."""
    sources, targets, nodes = [], [], count
    for rows, keys in ties:
        _, numbers = np.unique(keys, return_inverse=True)
        sources.append(rows)
        targets.append(numbers + nodes)
        nodes += len(keys)
    source, target = np.concatenate(sources), np.concatenate(targets)
    graph = coo_array((np.ones(len(source), dtype=bool), (source, target)), shape=(nodes, nodes))
    groups = connected_components(graph, directed=False)[1][:count]
    return np.unique(groups, return_inverse=True)[1]


def quotas(counts: Sequence[int], shares: Sequence[float]) -> np.ndarray:
    """Return how many posts of each class (rows) each split (columns) gets: its share, rounded up or down.

    What rounding takes from a split in one class comes back to it in the next, so that the splits have their shares.
    """
    rounded, owed = [], np.zeros(len(shares))
    for count in counts:
        exact = count * np.asarray(shares)
        quota = np.floor(exact + 1e-9).astype(int)
        order = np.lexsort((range(len(shares)), -np.round(owed + exact - quota, 9), -np.round(exact - quota, 9)))
        quota[order[: count - quota.sum()]] += 1
        owed += exact - quota
        rounded.append(quota)
    return np.array(rounded)


def draw_splits(
    hashes: np.ndarray, labels: np.ndarray, groups: np.ndarray, shares: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the split of each row, which does not depend on the order of the rows.

    Each group draws its split from its hash. Larger groups draw first; one that does not fit into the split that it
    draws goes where it fits best. Single posts then fill the quotas of their class, in the order of their hashes.

    Args:
        hashes: A random number of each row (uint64), which depends on its id and on the seed.
        labels: Class of each row.
        groups: Group of each row, as `components` returns it.
        shares: Share of each split. The shares add up to one.

    Returns:
        The split of each row, and the sizes of the groups.
    """
    sizes = np.bincount(groups)
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, groups, hashes)
    draws = _mix(lowest)
    remaining = quotas(np.bincount(labels), shares)
    splits = np.full(len(labels), -1, dtype=np.int8)
    by_group = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    bounds = np.cumsum(shares)[:-1]
    several = np.flatnonzero(sizes > 1)
    for group in several[np.lexsort((draws[several], -sizes[several]))]:
        rows = by_group[starts[group] : starts[group + 1]]
        counts = np.bincount(labels[rows], minlength=len(remaining))
        excess = np.maximum(counts[:, None] - np.maximum(remaining, 0), 0).sum(0)
        split = np.searchsorted(bounds, draws[group] / 2.0**64, side="right")
        if excess[split]:
            split = np.lexsort((-remaining.sum(0), excess))[0]
        splits[rows] = split
        remaining[:, split] -= counts
    singles = np.flatnonzero(sizes[groups] == 1)
    singles = singles[np.argsort(draws[groups[singles]], kind="stable")]
    for label, quota in enumerate(remaining):
        rows = singles[labels[singles] == label]
        quota = np.maximum(quota, 0)
        while quota.sum() > len(rows):  # Groups took more than the quota of another split.
            quota[quota.argmax()] -= 1
        splits[rows] = np.repeat(np.arange(len(shares)), quota)
    return splits, sizes


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Return new random numbers (uint64) for random numbers: the lowest hash of a large group is not random."""
    mixed = numbers.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed
