"""Decide what the corpus of a table holds: its options, its classes, its splits and its columns."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import BuilderConfig, Features, Value

from ..common_columns import FIELDS, FURTHER_FIELDS, describe_columns
from ..common_files import atomic_write, content_hash, join_names, option_path, read_json
from ..common_posts import PostFile, PostTable, open_posts
from ..common_rows import IMAGES
from ..common_schema import VECTORS, features
from .drawn_splits import components, draw_splits
from .index import SPLITS, IndexBuilder, PostIndex, contradictions, hash_of, require_label, text_cell
from .labels import Labels

SHARES = (0.8, 0.1, 0.1)
TEXTS = (*FURTHER_FIELDS, "group")
EXTRA = dict.fromkeys(TEXTS, Value("string")) | {"image_features": VECTORS}  # the columns that not every corpus has


@dataclass
class PostsConfig(BuilderConfig):
    """Options of a table of posts.

    Args:
        tables: Files by split, or by "" if their splits must be found. `load_corpus` sets it from `data_files`.
        text_column: Column of the texts; by default one with a usual name, as for the other columns. "none" means that
            there is no such column.
        image_columns: Column of the images, or several.
        image_features_column: Column of vectors that stand for the images, if they were computed beforehand: lists of
            numbers, or for several images lists of such lists.
        image_dir: Folder that image paths are relative to; the folder of the table if None.
        allow_absolute_paths: Whether image paths may be absolute or lead out of `image_dir`.
        label_names: Names of the classes in the order of their numbers.
        splits: JSON file with the ids of each split, as `train.py` writes it into the folder of a run.
        split_seed: Seed of splits that are drawn.
        split_shares: Shares of train, validation and test in splits that are drawn. If the table has train posts and
            no validation posts, these are drawn from the train posts; [0.9, 0, 0.1] leaves them there.
    """

    tables: dict[str, list[str]] | None = None
    text_column: str | None = None
    image_columns: str | Sequence[str] | None = None
    label_column: str | None = None
    aspect_column: str | None = None
    image_features_column: str | None = None
    caption_column: str | None = None
    tree_column: str | None = None
    id_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    image_dir: str | None = None
    allow_absolute_paths: bool = False
    label_names: Sequence[str] | None = None
    splits: str | None = None
    split_seed: int = 0
    split_shares: Sequence[float] = SHARES

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """Return the key of the cache, with the content of the split file and the names of the image files."""
        if self.splits is not None:
            config_kwargs = config_kwargs | {"splits": content_hash(option_path("splits", self.splits))}
        paths = [Path(path) for paths in (self.tables or {}).values() for path in paths]
        folders = {path.parent for path in paths} if self.image_dir is None else {Path(self.image_dir).expanduser()}
        config_kwargs = config_kwargs | {"image_files": _image_files(folders)}
        return super().create_config_id(config_kwargs, custom_features)

    def chosen_columns(self) -> dict[str, str | Sequence[str]]:
        """Return the columns that the user chose, by field."""
        chosen = {name: getattr(self, option, None) for name, (option, _) in FIELDS.items()}
        return {name: column for name, column in chosen.items() if column is not None}

    def check(self) -> None:
        """Check the options that do not name a file.

        Raises:
            ValueError: If an option has a value that cannot be used.
        """
        shares = self.split_shares
        numbers = isinstance(shares, list | tuple) and all(isinstance(s, int | float) and s >= 0 for s in shares)
        if not numbers or len(shares) != len(SPLITS) or abs(sum(shares) - 1) > 1e-6 or not shares[0]:
            raise ValueError(f"split_shares={shares}: give three shares that add up to 1, for example [0.8, 0.1, 0.1]")
        if self.label_names is not None and not isinstance(self.label_names, list | tuple):
            raise ValueError(f"label_names={self.label_names}: give a list, for example [bad, good]")


def _image_files(folders: Iterable[Path]) -> str:
    """Return a hash of the names of the image files in folders and the folders in them."""
    digest = hashlib.sha256()
    for folder in sorted(folder for folder in folders if folder.is_dir()):
        for inner in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
            with os.scandir(inner) as entries:
                names = sorted(entry.name for entry in entries if entry.name.lower().endswith(IMAGES))
            digest.update(f"{inner}\0{names}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@dataclass
class Plan:
    """What the corpus of a table holds.

    Attributes:
        index: The index of the labelled posts.
        splits: The rows of the index in each split, in their order.
        features: The columns.
        notes: What a user has to know.
    """

    index: PostIndex
    splits: dict[str, np.ndarray]
    features: Features
    notes: list[str]


def open_tables(config: PostsConfig) -> dict[str, list[PostFile]]:
    """Open the tables of a config, by split."""
    image_dir = None if config.image_dir is None else Path(config.image_dir).expanduser()
    how = (config.chosen_columns(), image_dir, config.allow_absolute_paths, FIELDS)
    return {split: [open_posts(Path(path), *how) for path in paths] for split, paths in config.tables.items()}


def make_plan(tables: Mapping[str, Sequence[PostTable]], config: PostsConfig) -> Plan:
    """Read tables once and decide what their corpus holds.

    Args:
        tables: Tables by split, or by "" if they do not name their split.

    Raises:
        ValueError: If an option, a table or a row cannot be used.
    """
    config.check()
    listed = [(split, table) for split, members in tables.items() for table in members]
    for _, table in listed:
        require_label(table)
    class_names = config.label_names or next(filter(None, (table.classes.get("label") for _, table in listed)), None)
    index = IndexBuilder(Labels(class_names)).read([table for _, table in listed])
    names = index.classes.names()
    if len(index.classes.codes) < 2:
        label = next(iter(index.classes.name_of_key.values()))
        raise ValueError(
            f"{listed[0][1].name}: all {len(index)} posts have the label {label}; two classes or more are needed. "
            "Choose another --label_column, or add posts of another class"
        )
    found = {describe_columns(table.columns): None for _, table in listed}
    notes = [f"the columns are read as {' and '.join(found)}; others can be chosen with --text_column and so on"]
    notes += index.notes + index.classes.notes()
    count, examples = contradictions(index)
    if count:
        notes.append(f"{count} posts occur with different labels, each time on the same side: {join_names(examples)}")
    splits = _splits(index, [split for split, _ in listed], config, notes)
    notes += _rare_classes(index)
    return Plan(index, splits, post_features(names, [table for _, table in listed]), notes)


def post_features(names: Iterable[str], tables: Iterable[PostTable]) -> Features:
    """Return the columns of the corpus of tables, with those of `EXTRA` that one of them has."""
    found = {name for table in tables for name in EXTRA if table.columns.get(name)}
    return features(names, **{name: kind for name, kind in EXTRA.items() if name in found})


def _splits(index: PostIndex, given: list[str], config: PostsConfig, notes: list[str]) -> dict[str, np.ndarray]:
    """Return the rows of each split: as a file lists them, as the tables or a column name them, or drawn."""
    if config.splits is not None:
        return _listed_splits(index, config.splits, notes)
    numbers = np.array([SPLITS.index(split) if split else -1 for split in given])[np.asarray(index.tables)]
    if (numbers < 0).any():
        numbers = np.asarray(index.splits)
    if (numbers >= 0).all():
        splits = {split: np.flatnonzero(numbers == number) for number, split in enumerate(SPLITS)}
        splits = {split: rows for split, rows in splits.items() if len(rows)}
        train, validation = config.split_shares[:2]
        if "train" in splits and "validation" not in splits and validation:
            shares = {"train": train / (train + validation), "validation": validation / (train + validation)}
            try:
                splits |= _drawn_splits(index, splits["train"], shares, config.split_seed, notes)
                notes.append("no post is marked as validation; these posts were drawn from the train posts")
            except ValueError as error:  # The table can be read without validation posts.
                notes.append(f"no post is marked as validation, and none can be drawn: {error}")
        return splits
    if index.bad_split:
        raise ValueError(index.bad_split)
    shares = dict(zip(SPLITS, config.split_shares, strict=True))
    return _drawn_splits(index, np.arange(len(index)), shares, config.split_seed, notes)


def _drawn_splits(
    index: PostIndex, rows: np.ndarray, shares: dict[str, float], seed: int, notes: list[str]
) -> dict[str, np.ndarray]:
    """Divide rows of the index among splits."""
    shares = {split: share for split, share in shares.items() if share}
    hashes = np.array([hash_of(str(seed), index.ids[row]) for row in rows], dtype=np.uint64)
    groups = components(len(index), [tuple(np.asarray(values) for values in index.ties)])[rows]
    groups = np.unique(groups, return_inverse=True)[1]
    labels = np.asarray(index.labels, dtype=np.int64)[rows]
    numbers, sizes = draw_splits(hashes, labels, groups, list(shares.values()))
    splits = {split: rows[numbers == number] for number, split in enumerate(shares)}
    empty = [split for split in splits if not len(splits[split])]
    if empty:
        raise ValueError(
            f"the split {' and '.join(empty)} would be empty: {sizes.max()} of the {len(rows)} posts belong together "
            "(a text, image or group that they share). Add posts, change split_shares, or give the table a "
            "column split"
        )
    percent = ", ".join(f"{share:.0%}".replace("%", " %") for share in shares.values())
    notes.append(
        f"the splits were drawn with split_seed={seed} and the shares {percent}, the classes in equal shares, and "
        "posts that share a text, an image or a group in one split"
        + (f": {int((sizes > 1).sum())} groups, the largest of {sizes.max()} posts" if sizes.max() > 1 else "")
    )
    return splits


def _listed_splits(index: PostIndex, name: str, notes: list[str]) -> dict[str, np.ndarray]:
    listed = read_split_file(option_path("splits", name))
    row_of = {post_id: row for row, post_id in enumerate(index.ids)}
    splits = {}
    for split, ids in listed.items():
        missing = [post_id for post_id in ids if post_id not in row_of]
        if missing:
            notes.append(f"{len(missing)} of {len(ids)} ids of {split} in {name} are not here: {join_names(missing)}")
        splits[split] = np.array(sorted(row_of.pop(post_id) for post_id in ids if post_id in row_of), dtype=int)
    if row_of:
        notes.append(f"{len(row_of)} posts are not in {name} and were left out: {join_names(list(row_of))}")
    empty = [split for split, rows in splits.items() if not len(rows)]
    if empty:
        raise ValueError(f"splits={name}: none of the ids of {' and '.join(empty)} is in the table; give its own file")
    return splits


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Return the ids of each split from a file that `write_split_file` wrote, after a check of its checksum."""
    content = read_json(path)
    splits = {split: ids for split, ids in content.items() if split in SPLITS} if isinstance(content, dict) else {}
    if not splits or content.get("checksum") != _checksum(splits):
        raise ValueError(f"{path} is not a complete file of splits, or was changed; take the one that a run wrote")
    return splits


def write_split_file(path: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write the ids of each split with a checksum."""
    splits = {split: list(splits[split]) for split in SPLITS if split in splits}
    with atomic_write(path) as temporary:
        content = {"checksum": _checksum(splits)} | splits
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _checksum(splits: Mapping[str, Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest()


def _rare_classes(index: PostIndex) -> list[str]:
    counts = np.bincount(np.asarray(index.labels))
    rare = [name for name, count in zip(index.classes.name_of_key.values(), counts, strict=False) if count == 1]
    return [f"a class with one post cannot be trained and tested: {join_names(rare)}"] if rare else []


def shared_row(table: PostTable, row: dict, classes: Labels) -> dict[str, Any]:
    """Return the row of a post in the columns that all corpora share."""
    post = table.post(row)
    values = {
        "text": text_cell(table, row, "text").strip(),
        "images": [image if isinstance(image, dict) else str(image) for image in post["images"]],
        "aspect": text_cell(table, row, "aspect").strip() or None,
    }
    values |= {name: classes.name(table.label(row, name)) for name in ("label", "text_label", "image_label")}
    for name in TEXTS:
        if table.columns.get(name):
            values[name] = text_cell(table, row, name).strip() or None
    if "image_features" in post:
        values["image_features"] = post["image_features"].tolist()
    return values
