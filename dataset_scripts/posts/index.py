"""The index of a table of posts: for each post its id, its position in the table and hashes of its content.

The posts themselves are not kept, so that the memory does not depend on how long the texts and how large the images
are.
"""

import hashlib
import os
import stat
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmsent.modeling.common_text import replace_lone_surrogates

from ..common_columns import missing_columns
from ..common_files import join_names
from ..common_leaks import normalise
from ..common_posts import PostTable
from .labels import MAX_CLASSES, Labels, clean_label

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
SPLITS = list(SPLIT_NAMES)
ENDS = 1 << 13  # Bytes at the beginning and at the end of an image file that, with its size, identify it.
SAMPLE, FEW = 1000, 20  # A column with at most FEW different values in the first SAMPLE rows may hold classes.


def hash_of(*parts: str | bytes) -> int:
    """Return a hash of 64 bits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        part = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(part) + part)
    return int.from_bytes(digest.digest())


def image_key(image: Any) -> int | None:
    """Return a hash that the same image has everywhere, or None if there is no such regular file."""
    if isinstance(image, dict):
        content = image["bytes"]
        return hash_of(str(len(content)), content[:ENDS], content[-ENDS:])
    try:
        if not stat.S_ISREG(Path(image).stat().st_mode):  # Reading a pipe would never end.
            return None
        with Path(image).open("rb") as file:
            start, size = file.read(ENDS), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - ENDS))
            return hash_of(str(size), start, file.read())
    except OSError:
        return None


def vector_keys(post: dict) -> list[int]:
    """Return a hash of each vector that stands for an image of a post."""
    return [hash_of("vector", vector.tobytes()) for vector in post.get("image_features", ())]


def text_cell(table: PostTable, row: dict, name: str) -> str:
    """Return the text of a field in a row, "" if the cell is empty."""
    value = table.cell(row, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas writes whole numbers so if one is missing
    return "" if value is None else replace_lone_surrogates(str(value))


def content_id(table: PostTable, post: dict, row: dict) -> str:
    """Return an id that a post keeps when rows are moved, added or labelled anew. Equal posts have the same."""
    images = [
        str(hash_of(image["bytes"])) if isinstance(image, dict) else os.path.relpath(image, table.image_dir)
        for image in post["images"]
    ]
    images += [str(key) for key in vector_keys(post)]
    texts = [post["text"] or "", *(text_cell(table, row, name) for name in ("aspect", "caption"))]
    texts = [" ".join(text.split()) for text in texts]  # An editor may change the ends of lines.
    return f"{hash_of(*texts, *images):016x}"


@dataclass
class PostIndex:
    """What is known of each labelled post, in the order of the tables.

    Attributes:
        ids: The ids.
        tables: Number of the table.
        positions: Position in the table.
        labels: Provisional number of the class in `classes`.
        splits: Number of the split that a column names.
        contents: Hash of text, aspect and images.
        ties: Rows and keys: posts with the same key belong together.
        classes: The classes.
        bad_split: What is wrong with the column of splits, if anything is.
        notes: What was left out, and why.
    """

    classes: Labels
    ids: list[str] = field(default_factory=list)
    tables: array = field(default_factory=lambda: array("I"))
    positions: array = field(default_factory=lambda: array("Q"))
    labels: array = field(default_factory=lambda: array("H"))
    splits: array = field(default_factory=lambda: array("b"))
    contents: array = field(default_factory=lambda: array("Q"))
    ties: tuple[array, array] = field(default_factory=lambda: (array("L"), array("Q")))
    bad_split: str = ""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


class IndexBuilder:
    """Read tables once, and build their index."""

    def __init__(self, classes: Labels):
        self.index = PostIndex(classes)
        self.copies: dict[str, int] = {}  # of posts without an id, by the hash of their content
        self.unlabelled: list[str] = []
        self.empty: list[str] = []
        self.absent: list[str] = []
        self.counts = dict.fromkeys(("rows", "unlabelled", "empty", "absent", "images"), 0)

    def read(self, tables: Iterable[PostTable]) -> PostIndex:
        """Read all rows.

        Raises:
            ValueError: If a row cannot be used. The message names the table, the row and what is wrong.
        """
        starts = []
        for number, table in enumerate(tables):
            starts.append(len(self.index))
            ids: set[str] = set()
            for row_number, (position, row) in enumerate(table.located(), 1):
                where = f"{table.name}, row {row_number}"
                try:
                    self._add(table, number, position, row, ids)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
                self.counts["rows"] += 1
                if len(self.index.classes.codes) > MAX_CLASSES:
                    raise too_many_classes(table, f"it has more than {MAX_CLASSES} different labels")
            if len(self.index) == starts[-1]:
                raise ValueError(f"{table.name}: {self._why_empty(table)}")
            if len(self.index.classes.codes) == len(self.index) > FEW:
                raise too_many_classes(table, "every row has another label")
        self._make_ids_unique(starts, [table.name for table in tables])
        self.index.notes += self._notes()
        return self.index

    def _add(self, table: PostTable, number: int, position: int, row: dict, ids: set[str]) -> None:
        index, post = self.index, table.post(row)
        label = index.classes.code(table.label(row, "label"))
        if post["text"] is not None and not isinstance(post["text"], str):
            raise ValueError(f"the text is of the type {type(post['text']).__name__}; choose another --text_column")
        for name in ("text_label", "image_label"):
            index.classes.code(table.label(row, name))
        keys, vectors = [image_key(image) for image in post["images"]], vector_keys(post)
        self.counts["images"] += len(keys)
        for image in (image for image, key in zip(post["images"], keys, strict=True) if key is None):
            self._count("absent", os.path.relpath(image, table.image_dir))
        text, aspect = (post["text"] or "").strip(), text_cell(table, row, "aspect")
        if label < 0 or not (text or keys or vectors):
            self._count("unlabelled" if label < 0 else "empty", f"{self.counts['rows'] + 1}")
            return
        found = [*(key for key in keys if key is not None), *vectors]
        plain = normalise(text) or text
        content = hash_of(plain, aspect, *(str(key) for key in found))
        if table.columns["id"]:
            post_id = text_cell(table, row, "id").strip()
            if not post_id or post_id in ids:
                problem = f"an earlier row has the id {post_id} too" if post_id else "the id is empty"
                raise ValueError(f"{problem}; correct it, or choose another --id_column, or none")
            ids.add(post_id)
        else:
            post_id = content_id(table, post, row)
            self.copies[post_id] = copies = self.copies.get(post_id, 0) + 1
            post_id += f"-{copies}" if copies > 1 else ""
        self._tie(plain and hash_of("text", plain), *found)
        group = text_cell(table, row, "group")
        self._tie(group and hash_of("group", group))
        index.ids.append(post_id)
        index.tables.append(number)
        index.positions.append(position)
        index.labels.append(label)
        index.splits.append(self._given_split(table, row))
        index.contents.append(content)

    def _tie(self, *keys: Any) -> None:
        rows, tied = self.index.ties
        for key in filter(None, keys):
            rows.append(len(self.index))
            tied.append(key)

    def _count(self, kind: str, name: str) -> None:
        self.counts[kind] += 1
        examples = getattr(self, kind)
        if len(examples) <= 10:
            examples.append(name)

    def _given_split(self, table: PostTable, row: dict) -> int:
        """Return the number of the split that a row names, or -1 if it names none."""
        column = table.columns.get("split")
        if column is None:
            return -1
        name = text_cell(table, row, "split").strip()
        if name.casefold() in SPLIT_OF:
            return SPLITS.index(SPLIT_OF[name.casefold()])
        self.index.bad_split = self.index.bad_split or (
            f"{table.name}, row {self.counts['rows'] + 1}: the column {column} has {name!r}, which is not one of "
            f"{', '.join(SPLIT_OF)}; correct it, choose another --split_column, or draw the splits with "
            "--split_column none"
        )
        return -1

    def _make_ids_unique(self, starts: list[int], names: list[str]) -> None:
        """Put the name of the table before each id if two tables have the same id."""
        ids = self.index.ids
        if len(starts) > 1 and len(set(ids)) < len(ids):
            stems = [Path(name).stem for name in names]
            if len(set(stems)) < len(stems):
                stems = [f"{number}-{stem}" for number, stem in enumerate(stems)]
            self.index.ids = [f"{stems[number]}-{i}" for number, i in zip(self.index.tables, ids, strict=True)]

    def _why_empty(self, table: PostTable) -> str:
        if not self.counts["unlabelled"]:
            return "the table has no posts; add some, or leave it out"
        return f"no row has a label in the column {table.columns['label']}; choose another --label_column"

    def _notes(self) -> list[str]:
        rows, images = f"{self.counts['rows']} rows", f"{self.counts['images']} images"
        reasons = {
            "unlabelled": f"of {rows} have no label and are left out: rows",
            "empty": f"of {rows} have neither a text nor an image and are left out: rows",
            "absent": f"of {images} do not exist (--on_bad_image decides what happens):",
        }
        return [
            f"{self.counts[kind]} {reason} {join_names(getattr(self, kind))}"
            for kind, reason in reasons.items()
            if self.counts[kind]
        ]


def too_many_classes(table: PostTable, problem: str) -> ValueError:
    """Return the error for a column that does not hold labels, with the columns that may."""
    hint = f"{label_hint(table)}Choose one with --label_column."
    return ValueError(f"{table.name}: the column {table.columns['label']} does not hold labels: {problem}. {hint}")


def label_hint(table: PostTable) -> str:
    """Return which other columns have few different values, as a sentence; "" if none has."""
    values: dict[str, set[str]] = {name: set() for name in table.available}
    used = {name for name in table.columns.values() if isinstance(name, str)}
    whole = replace(table, columns={"all": table.available})
    for _, row in islice(whole.located(), SAMPLE):
        for name, value in row.items() if isinstance(row, dict) else ():
            if isinstance(value, str | int | float) and len(values[name]) <= FEW:
                values[name].add(clean_label(value))
    few = [name for name, words in values.items() if 1 < len(words) <= FEW and name not in used]
    return f"Columns with few different values are {join_names(few)}. " if few else ""


def require_label(table: PostTable) -> None:
    """Raise a ValueError if a table has no column with labels."""
    if table.columns["label"] is None:
        raise missing_columns(("label",), table.available, table.name, label_hint(table))


def contradictions(index: PostIndex) -> tuple[int, list[str]]:
    """Return the number of posts that occur with different labels, and examples of their ids."""
    contents, labels = np.asarray(index.contents), np.asarray(index.labels)
    order = np.lexsort((labels, contents))
    same = contents[order][1:] == contents[order][:-1]
    differ = same & (labels[order][1:] != labels[order][:-1])
    mixed = np.unique(contents[order][1:][differ])
    rows = np.flatnonzero(np.isin(contents, mixed))
    return len(rows), [index.ids[row] for row in rows[:10]]
