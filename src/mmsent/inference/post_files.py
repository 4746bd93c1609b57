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

import pyarrow as pa
import pyarrow.parquet as pq

from mmsent.dataset_scripts.common_tables import (
    MAX_CELL,
    read_all_rows,
    read_header,
    refuse_repeated_columns,
    refuse_utf16,
)
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
            return len(_list_posts(self.path)[0])
        if self.path.suffix.lower() == ".parquet":
            return _parquet_file(self.path).metadata.num_rows
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
        """Return a value that changes when the rows change: size and time of the file, or of all files of a folder."""
        if self.path.is_dir():
            names = [name for names in _list_posts(self.path)[0].values() for name in names]
            lines = "".join(f"{name}\0{_size_and_time(self.path / name)}\0" for name in names)
            return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
        return _size_and_time(self.path)

    def left_out(self) -> list[str]:
        """Return for each file of a folder that looks like a part of a post, but is not read, its name and why."""
        return _list_posts(self.path)[1] if self.path.is_dir() else []

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
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"{path} is not a regular file: write the posts into a file first.")
    if image_dir is not None and not image_dir.is_dir():
        raise ValueError(f"There is no folder {image_dir}, which --image_dir names.")
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
        if not _list_posts(path)[0]:
            raise ValueError(f"{path} has no posts: neither <id>.txt nor images ({', '.join(IMAGES)}).")
        return ["id", "text", "images"]
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        names = _parquet_file(path).schema_arrow.names
        refuse_repeated_columns(names, str(path))
        return names
    if suffix == ".jsonl":
        refuse_utf16(path)
        # All rows are read, because a row may leave out a key.
        names = list({key: None for row in _json_rows(path) if not isinstance(row, ValueError) for key in row})
        if not names:
            _refuse_other_json(path)
        return names
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
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the images {cell[:80]!r} are not a JSON list: {error}") from error
    return [name.strip() for name in cell.split(";") if name.strip()]


def _json_rows(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_unique_keys)
            except (ValueError, RecursionError) as error:
                yield ValueError(f"line {number} is not a JSON object: {error}")
                continue
            is_object = isinstance(row, dict)
            yield row if is_object else ValueError(f"line {number} is a {type(row).__name__}, not a JSON object")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice; remove one of them")
    return values


def _refuse_other_json(path: Path) -> None:
    """Raise a ValueError that says how to convert a file of JSON in another form than one object per line."""
    with path.open("rb") as file:
        start = next((line.strip()[:1] for line in file if line.strip()), b"")
    if start == b"[":
        raise ValueError(
            f"{path} is one JSON array, not one object per line: convert it with `jq -c '.[]' OLD > NEW`."
        )
    if start == b"{":
        raise ValueError(
            f"{path} has JSON objects of several lines, not one object per line: convert it with `jq -c . OLD > NEW`."
        )


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[RawRow]:
    batches = _parquet_file(path).iter_batches(PARQUET_ROWS, columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if batch is None:
            return
        yield from (_parquet_row(batch, index) for index in range(batch.num_rows))


def _parquet_row(batch: pa.RecordBatch, index: int) -> RawRow:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except (OverflowError, ValueError) as error:
            return ValueError(f"column {name!r}: {error}")
    return row


def _parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is damaged, or not a Parquet file: {error}") from error


def _size_and_time(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _list_posts(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the file names of each post in a folder by its id, in alphabetical order, and what is left out and why.

    Only regular files inside of the folder are read: a pipe would block for ever, and a link could lead to a secret.
    """
    posts: dict[str, list[str]] = {}
    left_out, root = [], folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".txt", *IMAGES):
            continue
        if path.name.startswith("."):
            left_out.append(f"{path.name} is hidden")
        elif not path.is_file():
            left_out.append(f"{path.name} is not a regular file")
        elif path.is_symlink() and not path.resolve().is_relative_to(root):
            left_out.append(f"{path.name} is a link out of the folder")
        else:
            posts.setdefault(path.stem, []).append(path.name)
    return posts, left_out


def _folder_rows(folder: Path) -> Iterator[RawRow]:
    for post_id, names in _list_posts(folder)[0].items():
        texts = [name for name in names if name.lower().endswith(".txt")]
        try:
            if len(texts) > 1:
                raise ValueError(f"the post has also the text {texts[1]}; remove one of them")
            if texts and (folder / texts[0]).stat().st_size > MAX_CELL:
                raise ValueError(f"the text has more than {MAX_CELL:,} bytes")
            text = (folder / texts[0]).read_text(encoding="utf-8-sig") if texts else None
        except (OSError, ValueError) as error:
            yield ValueError(f"{texts[0]}: {error}")
            continue
        yield {"id": post_id, "text": text, "images": [name for name in names if name not in texts]}
