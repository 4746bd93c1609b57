"""Read posts one by one from a CSV, TSV, JSONL or Parquet file, or from a folder of texts and images.

Rows are numbered from 1, and a row keeps its number however often the file is read. A row that cannot be read is a
`ValueError` instead of its values; the rows after it are read as usual.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmsent.dataset_scripts.common_tables import read_all_rows, read_header
from mmsent.modeling.common_text import replace_lone_surrogates

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (*DELIMITERS, ".jsonl", ".parquet")
IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
# field of a post -> the column names that are tried if the user does not choose a column
DEFAULT_COLUMNS = {"text": ("text",), "images": ("images", "image"), "aspect": ("aspect",), "id": ("id",)}
PARQUET_ROWS = 64  # Rows that are read at once. They may contain images, so a batch is small.

RawRow = dict[str, Any] | ValueError


@dataclass
class PostFile:
    """A file or folder of posts.

    Args:
        path: A table, whose suffix tells its format, or a folder of `<id>.txt` and images `<id>.jpg`, `<id>.png` ...
        columns: Maps each field of a post ("text", "images", "aspect", "id") to its column, or to None.
        image_dir: Folder that image paths are relative to.
        allow_absolute_paths: Whether image paths may be absolute or lead out of `image_dir`.
    """

    path: Path
    columns: dict[str, str | None]
    image_dir: Path
    allow_absolute_paths: bool = False

    def count(self) -> int | None:
        """Return the number of rows, or None if it is not known before a CSV or JSONL file is read."""
        if self.path.is_dir():
            return len(_list_posts(self.path))
        if self.path.suffix.lower() == ".parquet":
            return pq.ParquetFile(self.path).metadata.num_rows
        return None

    def __iter__(self) -> Iterator[tuple[int, RawRow]]:
        """Yield the number of each row, and its values by column or the error in it."""
        suffix = self.path.suffix.lower()
        if self.path.is_dir():
            rows = _folder_rows(self.path)
        elif suffix == ".jsonl":
            rows = _json_rows(self.path)
        elif suffix == ".parquet":
            rows = _parquet_rows(self.path, list(filter(None, self.columns.values())))
        else:
            rows = read_all_rows(self.path, DELIMITERS[suffix])
        return enumerate(rows, 1)

    def state(self) -> str | list[int]:
        """Return a value that changes when the rows change: size and time of a file, a hash of a folder's names."""
        if self.path.is_dir():
            names = [name for names in _list_posts(self.path).values() for name in names]
            return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        stat = self.path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def id_of(self, row: RawRow) -> str | None:
        """Return the id in a row, or None if it has none."""
        value = None if isinstance(row, ValueError) else row.get(self.columns["id"])
        return None if value is None else replace_lone_surrogates(str(value))

    def post(self, row: RawRow) -> dict:
        """Return the post in a row in the form that the pipeline takes.

        Raises:
            ValueError: If the row could not be read, has neither text nor images, or names an image outside of
                `image_dir`.
        """
        if isinstance(row, ValueError):
            raise row
        text, images, aspect = (self.columns[field] for field in ("text", "images", "aspect"))
        if text not in row and images not in row:
            expected = " or ".join(filter(None, (text, images)))
            raise ValueError(f"no {expected} in this row; it has {', '.join(row) or 'nothing'}")
        entries = [self._image(entry) for entry in _image_entries(row.get(images))]
        return {"text": row.get(text), "images": entries, "aspect": row.get(aspect) or None}

    def _image(self, entry: Any) -> dict | Path:
        if isinstance(entry, dict):  # the form in which `datasets.Image` is written to Parquet
            if entry.get("bytes") is not None:
                return {"bytes": entry["bytes"], "path": entry.get("path")}
            entry = entry.get("path")
        if not isinstance(entry, str):
            raise ValueError(f"{entry!r} is not a path of an image")
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


def open_posts(
    path: Path,
    chosen_columns: dict[str, str | None] | None = None,
    image_dir: Path | None = None,
    allow_absolute_paths: bool = False,
) -> PostFile:
    """Open a file or folder of posts and find its columns.

    Args:
        chosen_columns: Maps fields of a post ("text", "images", "aspect", "id") to the columns that the user chose.
            Fields that are missing or None take the column with the default name.
        image_dir: Folder that image paths are relative to, by default the folder of the file.

    Raises:
        ValueError: If the file does not exist, has an unknown suffix, cannot be read, or lacks a column. The message
            lists the columns of the file.
    """
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise ValueError(f"{path} is neither a folder nor one of {', '.join(TABLES)}.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    available = _available_columns(path)
    listed = ", ".join(available) or "none"
    columns = {}
    for field, defaults in DEFAULT_COLUMNS.items():
        chosen = (chosen_columns or {}).get(field)
        if chosen is not None and chosen not in available:
            raise ValueError(f"{path} has no column {chosen}; its columns are {listed}.")
        columns[field] = chosen or next((name for name in defaults if name in available), None)
    if columns["text"] is None and columns["images"] is None:
        raise ValueError(
            f"{path} has no column text, images or image; its columns are {listed}. Choose one with --text_column or "
            "--image_column."
        )
    return PostFile(path, columns, image_dir or (path if path.is_dir() else path.parent), allow_absolute_paths)


def _available_columns(path: Path) -> list[str]:
    if path.is_dir():
        if not _list_posts(path):
            raise ValueError(f"{path} has no posts: neither <id>.txt nor images ({', '.join(IMAGES)}).")
        return ["id", "text", "images"]
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pq.read_schema(path).names
    if suffix == ".jsonl":
        # All rows are read, because a row may leave out a key.
        return list({key: None for row in _json_rows(path) if not isinstance(row, ValueError) for key in row})
    return read_header(path, DELIMITERS[suffix])


def _image_entries(cell: Any) -> list:
    """Return the images in a cell, which is a list, a JSON list, or names separated by `;`."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        return [] if cell is None else [cell]
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError as error:
            raise ValueError(f"the images {cell[:80]!r} are not a JSON list: {error}") from error
    return [name.strip() for name in cell.split(";") if name.strip()]


def _json_rows(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield ValueError(f"line {number} is not JSON: {error}")
                continue
            is_object = isinstance(row, dict)
            yield row if is_object else ValueError(f"line {number} is a {type(row).__name__}, not a JSON object")


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[RawRow]:
    for batch in pq.ParquetFile(path).iter_batches(PARQUET_ROWS, columns=columns):
        yield from batch.to_pylist()


def _list_posts(folder: Path) -> dict[str, list[str]]:
    """Return the file names of each post in a folder by its id, in alphabetical order."""
    posts: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".txt", *IMAGES):
            posts.setdefault(path.stem, []).append(path.name)
    return posts


def _folder_rows(folder: Path) -> Iterator[RawRow]:
    for post_id, names in _list_posts(folder).items():
        texts = [name for name in names if name.lower().endswith(".txt")]
        try:
            text = (folder / texts[0]).read_text(encoding="utf-8-sig") if texts else None
        except (OSError, ValueError) as error:
            yield ValueError(f"{texts[0]}: {error}")
            continue
        yield {"id": post_id, "text": text, "images": [name for name in names if name not in texts]}
