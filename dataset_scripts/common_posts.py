"""Read posts one by one from a CSV, TSV, JSONL or Parquet file, or from a folder of texts and images.

`mmsent predict` and the corpus `posts` read their tables here. Rows are numbered from 1, and a row keeps its number
however often the file is read. A row that cannot be read is a `ValueError` instead of its values; the rows after it
are read as usual.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Features

from mmsent.modeling.common_images import as_vectors
from mmsent.modeling.common_text import replace_lone_surrogates

from .common_columns import FURTHER_FIELDS, POST_FIELDS, Columns, find_columns, missing_columns
from .common_rows import (
    DELIMITERS,
    TABLES,
    RawRow,
    available_columns,
    folder_rows,
    json_rows,
    list_posts,
    parquet_file,
    parquet_rows,
    row_group,
    size_and_time,
    table_rows,
)


@dataclass
class PostTable:
    """A table of posts.

    Args:
        name: Name of the table in messages.
        available: All columns of the table.
        columns: Maps each field of a post ("text", "images", "aspect", "id", ...) to its column, or to None. The
            images may be in several columns.
        image_dir: Folder that image paths are relative to.
        allow_absolute_paths: Whether image paths may be absolute or lead out of `image_dir`.
        classes: For each field whose column holds numbers of classes, the names of these classes.
    """

    name: str
    available: list[str]
    columns: Columns
    image_dir: Path
    allow_absolute_paths: bool = False
    classes: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def located(self, start: int = 0) -> Iterator[tuple[int, RawRow]]:
        """Yield the position of each row, and its values by column or the error in it.

        Args:
            start: A position from an earlier call. Reading begins with this row, or with an earlier one.
        """
        raise NotImplementedError

    def entry(self, position: int) -> int:
        """Return the position at which `located` begins if it is asked for a position."""
        return 0

    def __iter__(self) -> Iterator[tuple[int, RawRow]]:
        """Yield the number of each row, and its values by column or the error in it."""
        return enumerate((row for _, row in self.located()), 1)

    def cell(self, row: Mapping[str, Any], field: str) -> Any:
        """Return the value of a field in a row; None if the cell is empty, as pandas and databases write it."""
        value = row.get(self.columns.get(field))
        return None if isinstance(value, float) and math.isnan(value) else value

    def label(self, row: Mapping[str, Any], field: str) -> Any:
        """Return the label in a row, by its name if the table knows the name; None if the cell is empty."""
        value = self.cell(row, field)
        if field not in self.classes or value is None:
            return value
        return self.classes[field][value] if 0 <= value < len(self.classes[field]) else None

    def id_of(self, row: RawRow) -> str | None:
        """Return the id in a row, or None if it has none."""
        value = None if isinstance(row, ValueError) else self.cell(row, "id")
        return None if value is None else replace_lone_surrogates(str(value))

    def post(self, row: RawRow) -> dict:
        """Return the post in a row in the form that the pipeline takes.

        Raises:
            ValueError: If the row could not be read, has neither text nor images, or names an image outside of
                `image_dir`.
        """
        if isinstance(row, ValueError):
            raise row
        images, vectors = self.columns["images"] or [], self.columns.get("image_features")
        parts = [name for name in (self.columns["text"], *images, vectors) if name]
        if not any(name in row for name in parts):
            expected = " or ".join(parts)
            raise ValueError(f"no {expected} in this row; it has {', '.join(row) or 'nothing'}")
        entries = itertools.chain.from_iterable(_image_entries(row.get(column)) for column in images)
        post = {
            "text": self.cell(row, "text"),
            "images": [self._image(entry) for entry in entries],
            "aspect": self.cell(row, "aspect") or None,
        } | {name: self.cell(row, name) or None for name in FURTHER_FIELDS if self.columns.get(name)}
        return post | ({"image_features": self._vectors(row)} if vectors else {})

    def _vectors(self, row: Mapping[str, Any]) -> np.ndarray:
        """Return the vectors in a row (n, D), from a list or, as in a CSV file, a JSON list."""
        cell = self.cell(row, "image_features") or None
        if isinstance(cell, str):
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"image_features {cell[:80]!r} is not a JSON list: {error}") from error
        return as_vectors(cell)

    def _image(self, entry: Any) -> dict | Path:
        if isinstance(entry, bytes):
            return {"bytes": entry, "path": None}
        if isinstance(entry, dict):  # the form in which `datasets.Image` is written to Parquet
            if entry.get("bytes") is not None:
                return {"bytes": entry["bytes"], "path": entry.get("path")}
            entry = entry.get("path")
        if not isinstance(entry, str):
            raise ValueError(f"an image is a path, and not of the type {type(entry).__name__}")
        if entry.lower().startswith(("http://", "https://")):
            raise ValueError(f"{entry} is a URL: download the image and write its file name instead")
        path = self.image_dir / entry
        if not self.allow_absolute_paths:
            try:
                is_inside = path.resolve().is_relative_to(self.image_dir.resolve())
            except (OSError, RuntimeError) as error:  # symbolic links that point to each other
                raise ValueError(f"{entry}: {error}") from error
            if Path(entry).is_absolute() or not is_inside:
                raise ValueError(
                    f"{entry} is absolute or outside {self.image_dir}; --allow_absolute_paths permits such paths"
                )
        return path


@dataclass(kw_only=True)
class PostFile(PostTable):
    """A file or folder of posts: a table, whose suffix tells its format, or a folder of `<id>.txt` and images."""

    path: Path

    def count(self) -> int | None:
        """Return the number of rows, or None if it is not known before a CSV or JSONL file is read."""
        if self.path.is_dir():
            return len(list_posts(self.path)[0])
        if self.path.suffix.lower() == ".parquet":
            return parquet_file(self.path).metadata.num_rows
        return None

    def located(self, start: int = 0) -> Iterator[tuple[int, RawRow]]:
        suffix = self.path.suffix.lower()
        if self.path.is_dir():
            return enumerate(folder_rows(self.path))
        if suffix == ".jsonl":
            return json_rows(self.path, start)
        if suffix == ".parquet":
            names = itertools.chain.from_iterable(
                [names] if isinstance(names, str) else names or [] for names in self.columns.values()
            )
            return parquet_rows(self.path, list(names), start)
        return table_rows(self.path, DELIMITERS[suffix], self.available, start)

    def whole(self) -> "PostFile":
        """Return the same posts with all columns of the table in each row, not only those of the fields."""
        return dataclasses.replace(self, columns={name: name for name in self.available})

    def entry(self, position: int) -> int:
        if self.path.is_dir():
            return 0
        return row_group(self.path, position)[1] if self.path.suffix.lower() == ".parquet" else position

    def state(self) -> str | list[int]:
        """Return a value that changes when the rows change: size and time of the file, or of all files of a folder."""
        if self.path.is_dir():
            names = [name for names in list_posts(self.path)[0].values() for name in names]
            lines = "".join(f"{name}\0{size_and_time(self.path / name)}\0" for name in names)
            return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
        return size_and_time(self.path)

    def left_out(self) -> list[str]:
        """Return for each file of a folder that looks like a part of a post, but is not read, its name and why."""
        return list_posts(self.path)[1] if self.path.is_dir() else []


class RowReader:
    """Read rows at positions that `PostTable.located` gave. Increasing positions are read in one pass of the file."""

    def __init__(self, table: PostTable):
        self.table = table
        self.rows: Iterator[tuple[int, RawRow]] = iter(())

    def read(self, positions: Iterable[int]) -> Iterator[RawRow]:
        for wanted in positions:
            position, row = next(self.rows, (-1, None))
            if position > wanted or self.table.entry(wanted) > position:
                self.rows = self.table.located(wanted)
                position, row = next(self.rows)
            while position < wanted:
                position, row = next(self.rows)
            yield row


def open_posts(
    path: Path,
    chosen_columns: Mapping[str, str | Sequence[str] | None] | None = None,
    image_dir: Path | None = None,
    allow_absolute_paths: bool = False,
    fields: Iterable[str] = POST_FIELDS,
) -> PostFile:
    """Open a file or folder of posts and find its columns.

    Args:
        chosen_columns: Maps fields of a post ("text", "images", "aspect", "id") to the columns that the user chose.
            Fields that are missing or None take the column with a usual name (`common_columns.FIELDS`).
        image_dir: Folder that image paths are relative to, by default the folder of the file.
        fields: The fields to look for.

    Raises:
        ValueError: If the file does not exist, has an unknown suffix, cannot be read, or lacks a column. The message
            lists the columns of the file.
    """
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise ValueError(f"{path} is neither a folder nor one of {', '.join(TABLES)}.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"{path} is not a regular file: write the posts into a file first.")
    if image_dir is not None and not image_dir.is_dir():
        raise ValueError(f"There is no folder {image_dir}, which --image_dir names.")
    available = available_columns(path)
    columns = find_columns(available, chosen_columns or {}, fields, str(path))
    if all(columns[name] is None for name in ("text", "images", "image_features")):
        raise missing_columns(("text", "images"), available, str(path))
    folder = image_dir or (path if path.is_dir() else path.parent)
    classes = class_names(_features(path), columns)
    return PostFile(str(path), available, columns, folder, allow_absolute_paths, classes, path=path)


def class_names(features: Mapping[str, Any], columns: Columns) -> dict[str, list[str]]:
    """Return the names of the classes for each field whose column is a `datasets.ClassLabel`."""
    found = {field: features.get(name) for field, name in columns.items() if isinstance(name, str)}
    return {field: feature.names for field, feature in found.items() if isinstance(feature, ClassLabel)}


def _features(path: Path) -> Mapping[str, Any]:
    """Return the features that `datasets` wrote into a Parquet file."""
    if path.suffix.lower() != ".parquet":
        return {}
    schema = parquet_file(path).schema_arrow
    return Features.from_arrow_schema(schema) if b"huggingface" in (schema.metadata or {}) else {}


def _image_entries(cell: Any) -> list:
    """Return the images in a cell, which is a list, a JSON list, or names separated by `;`."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        is_empty = cell is None or (isinstance(cell, float) and math.isnan(cell))
        return [] if is_empty else [cell]
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the images {cell[:80]!r} are not a JSON list: {error}") from error
    return [name.strip() for name in cell.split(";") if name.strip()]
