"""Posts in files, one by one: CSV, TSV, JSONL, Parquet, or a folder of texts and pictures.

Every row has a number, from 1 on, which stays the same however often the file is read. A row that cannot be read is a
`ValueError` in place of its values, and the rows after it are read all the same.
"""

import csv
import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow.parquet as pq

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (*DELIMITERS, ".jsonl", ".parquet")
PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
# What a column is called unless one is chosen.
USUAL = {"text": ("text",), "images": ("images", "image"), "aspect": ("aspect",), "id": ("id",)}
MAX_FIELD = 10_000_000  # characters of a CSV field; a quote that is never closed swallows no more than that
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python makes of such bytes
PARQUET_ROWS = 64  # read at a time: they may hold pictures

RawRow = dict[str, Any] | ValueError


@dataclass
class PostFile:
    """A file or folder of posts.

    Args:
        path: a table, told by its ending, or a folder of `<id>.txt` and pictures `<id>.jpg`, `<id>.png` ...
        columns: part of a post ("text", "images", "aspect", "id") -> its column; None where it has none.
        image_dir: the folder that picture paths are relative to.
        allow_absolute_paths: paths may be absolute, or lead out of `image_dir`.
    """

    path: Path
    columns: dict[str, str | None]
    image_dir: Path
    allow_absolute_paths: bool = False

    def __len__(self) -> int:
        """How many rows; only of a folder and of Parquet, see `__iter__` for the others."""
        if self.path.is_dir():
            return len(_listing(self.path))
        if self.path.suffix.lower() == ".parquet":
            return pq.ParquetFile(self.path).metadata.num_rows
        raise TypeError(f"{self.path}: nobody knows before it is read")

    def __iter__(self) -> Iterator[tuple[int, RawRow]]:
        """Numbers and rows; a row is its columns or what is wrong with it."""
        if self.path.is_dir():
            rows = _folder_rows(self.path)
        elif self.path.suffix.lower() == ".jsonl":
            rows = _json_rows(self.path)
        elif self.path.suffix.lower() == ".parquet":
            rows = _parquet_rows(self.path, list(filter(None, self.columns.values())))
        else:
            rows = _csv_rows(self.path)
        return enumerate(rows, 1)

    def state(self) -> str | list[int]:
        """What changes when the rows do: size and time of a file, a hash of a folder's names."""
        if self.path.is_dir():
            names = [name for names in _listing(self.path).values() for name in names]
            return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        stat = self.path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    def id_of(self, row: RawRow) -> str | None:
        value = None if isinstance(row, ValueError) else row.get(self.columns["id"])
        return None if value is None else mended(str(value))

    def post(self, row: RawRow) -> dict:
        """The post of a row, as the pipeline takes it.

        Raises:
            ValueError: the row could not be read, has no part of a post, or names a picture that may not be read.
        """
        if isinstance(row, ValueError):
            raise row
        text, images, aspect = (self.columns[part] for part in ("text", "images", "aspect"))
        if text not in row and images not in row:
            wanted = " or ".join(filter(None, (text, images)))
            raise ValueError(f"no {wanted} in this row, which has {', '.join(row) or 'nothing'}")
        pictures = [self._picture(entry) for entry in _entries(row.get(images))]
        return {"text": row.get(text), "images": pictures, "aspect": row.get(aspect) or None}

    def _picture(self, entry: Any) -> dict | Path:
        if isinstance(entry, dict):  # as `datasets.Image` is written to Parquet
            if entry.get("bytes") is not None:
                return {"bytes": entry["bytes"], "path": entry.get("path")}
            entry = entry.get("path")
        if not isinstance(entry, str):
            raise ValueError(f"{entry!r} is no path of a picture")
        if entry.lower().startswith(("http://", "https://")):
            raise ValueError(f"{entry} is a URL: download the pictures and name the files")
        path = self.image_dir / entry
        if not self.allow_absolute_paths:
            try:
                inside = path.resolve().is_relative_to(self.image_dir.resolve())
            except (OSError, RuntimeError) as error:  # links that lead to each other
                raise ValueError(f"{entry}: {error}") from error
            if Path(entry).is_absolute() or not inside:
                raise ValueError(f"{entry} is absolute or outside {self.image_dir}: --allow_absolute_paths reads it")
        return path


def open_posts(path: Path, chosen: dict[str, str | None], image_dir: Path | None, allow_absolute: bool) -> PostFile:
    """Find the columns of a file.

    Args:
        chosen: part of a post -> the column that the user named, or None for the usual one.
        image_dir: of the pictures; the folder of `path` unless given.

    Raises:
        ValueError: no such file, of no known kind, unreadable, or without a column; names the columns there are.
    """
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise ValueError(f"{path} is neither a folder nor one of {', '.join(TABLES)}.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    there = _columns(path)
    columns = {}
    for part, names in USUAL.items():
        if chosen[part] is not None and chosen[part] not in there:
            raise ValueError(f"{path} has no column {chosen[part]}: it has {', '.join(there) or 'none'}.")
        columns[part] = chosen[part] or next((name for name in names if name in there), None)
    if columns["text"] is None and columns["images"] is None:
        raise ValueError(
            f"{path} has no column text, images or image; it has {', '.join(there) or 'none'}: choose with "
            "--text_column or --image_column."
        )
    return PostFile(path, columns, image_dir or (path if path.is_dir() else path.parent), allow_absolute)


def mended(text: str) -> str:
    """A text that can be written: half a surrogate pair becomes the replacement sign."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _columns(path: Path) -> list[str]:
    if path.is_dir():
        if not _listing(path):
            raise ValueError(f"{path} has no posts: <id>.txt, or pictures ({', '.join(PICTURES)}).")
        return ["id", "text", "images"]
    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path).names
    if path.suffix.lower() == ".jsonl":
        # Of all rows, as each may leave out what it does not have.
        return list({key: None for row in _json_rows(path) if not isinstance(row, ValueError) for key in row})
    with _open_text(path) as file:
        header = next(_csv_records(file, DELIMITERS[path.suffix.lower()]), [])
    if isinstance(header, ValueError):
        raise ValueError(f"{path}: {header}")
    return header


def _entries(cell: Any) -> list:
    """The pictures of a cell: a list, a JSON list, or names with `;` between them."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        return [] if cell is None else [cell]
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError as error:
            raise ValueError(f"the pictures {cell[:80]!r} are no JSON list: {error}") from error
    return [name.strip() for name in cell.split(";") if name.strip()]


# --------------------------------------------------------------------------------------------------------------- CSV


def _open_text(path: Path) -> TextIO:
    # Bytes that are no UTF-8 become lone surrogates, and their row, not the file, is bad.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv_rows(path: Path) -> Iterator[RawRow]:
    with _open_text(path) as file:
        records = _csv_records(file, DELIMITERS[path.suffix.lower()])
        header = next(records)
        for record in records:
            yield record if isinstance(record, ValueError) else dict(zip(header, record, strict=True))


def _csv_records(file: TextIO, delimiter: str) -> Iterator[list[str] | ValueError]:
    """Records, each of as many fields as the first. Where a line begins none, that line alone is an error: whatever
    its open quote had swallowed is read again."""
    again: deque[str] = deque()
    taken: list[str] = []
    line, fields = 1, None

    def lines() -> Iterator[str]:
        while text := again.popleft() if again else file.readline():
            taken.append(text)
            yield text

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        limit = csv.field_size_limit(MAX_FIELD)
        try:
            record = next(reader, None)
            problem = None if record is None else _problem(record, fields)
        except csv.Error as error:
            problem = str(error)
        finally:
            csv.field_size_limit(limit)
        if problem is not None:
            again.extendleft(reversed(taken[1:]))
            reader = csv.reader(lines(), delimiter=delimiter, strict=True)
            yield ValueError(f"line {line}: {problem}")
            line += 1
            continue
        if record is None:
            return
        line += len(taken)
        if record:  # not an empty line
            fields = fields or len(record)
            yield record


def _problem(record: list[str], fields: int | None) -> str | None:
    if record and fields is not None and len(record) != fields:
        return f"{len(record)} fields where the header has {fields}"
    if any(NOT_UTF8.search(field) for field in record):
        return "not UTF-8"
    return None


# ------------------------------------------------------------------------------------------- JSONL, Parquet, a folder


def _json_rows(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield ValueError(f"line {number} is no JSON: {error}")
                continue
            yield row if isinstance(row, dict) else ValueError(f"line {number} is a {type(row).__name__}, no object")


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[RawRow]:
    for batch in pq.ParquetFile(path).iter_batches(PARQUET_ROWS, columns=columns):
        yield from batch.to_pylist()


def _listing(folder: Path) -> dict[str, list[str]]:
    """Id -> its files, in order."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".txt", *PICTURES):
            found.setdefault(path.stem, []).append(path.name)
    return found


def _folder_rows(folder: Path) -> Iterator[RawRow]:
    for stem, names in _listing(folder).items():
        texts = [name for name in names if name.lower().endswith(".txt")]
        try:
            text = (folder / texts[0]).read_text(encoding="utf-8-sig") if texts else None
        except (OSError, ValueError) as error:
            yield ValueError(f"{texts[0]}: {error}")
            continue
        yield {"id": stem, "text": text, "images": [name for name in names if name not in texts]}
