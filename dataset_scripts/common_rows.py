"""Read the raw rows of CSV, TSV, JSONL and Parquet files, and of folders of texts and images, with their positions.

A position is the offset of a row in a CSV, TSV or JSONL file, and otherwise the number of rows before it.
"""

import bisect
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .common_files import refuse_utf16
from .common_tables import MAX_CELL, decode_utf8, read_header, read_records, refuse_repeated_columns

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (*DELIMITERS, ".jsonl", ".parquet")
IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
PARQUET_ROWS = 64  # Rows that are read at once. They may contain images, so a batch is small.

RawRow = dict[str, Any] | ValueError


def available_columns(path: Path) -> list[str]:
    if path.is_dir():
        if not list_posts(path)[0]:
            raise ValueError(f"{path} has no posts: neither <id>.txt nor images ({', '.join(IMAGES)}).")
        return ["id", "text", "images"]
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        names = parquet_file(path).schema_arrow.names
        refuse_repeated_columns(names, str(path))
        return names
    if suffix == ".jsonl":
        refuse_utf16(path)
        # All rows are read, because a row may leave out a key.
        names = list({key: None for _, row in json_rows(path) if not isinstance(row, ValueError) for key in row})
        if not names:
            _refuse_other_json(path)
        return names
    return read_header(path, DELIMITERS[suffix])


def table_rows(path: Path, delimiter: str, header: list[str], start: int) -> Iterator[tuple[int, RawRow]]:
    with path.open("rb") as file:
        file.seek(start)
        records = read_records(file, delimiter, decode_utf8)
        for offset, _, cells in records if start else itertools.islice(records, 1, None):
            is_error = isinstance(cells, ValueError)
            yield offset, cells if is_error else dict(zip(header, cells, strict=True))


def json_rows(path: Path, start: int = 0) -> Iterator[tuple[int, RawRow]]:
    with path.open("rb") as file:
        offset = file.seek(start)
        for number, line in enumerate(file, 1):
            if line.strip():
                yield offset, _json_row(line, number)
            offset += len(line)


def _json_row(line: bytes, number: int) -> RawRow:
    try:
        row = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        return ValueError(f"line {number} is not a JSON object: {error}")
    return row if isinstance(row, dict) else ValueError(f"line {number} is a {type(row).__name__}, not a JSON object")


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


def parquet_rows(path: Path, columns: list[str], start: int) -> Iterator[tuple[int, RawRow]]:
    group, position = row_group(path, start)
    file = parquet_file(path)
    groups = range(group, file.metadata.num_row_groups)
    batches = file.iter_batches(PARQUET_ROWS, row_groups=groups, columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if batch is None:
            return
        yield from enumerate((_parquet_row(batch, index) for index in range(batch.num_rows)), position)
        position += len(batch)


def _parquet_row(batch: pa.RecordBatch, index: int) -> RawRow:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except (OverflowError, ValueError) as error:
            return ValueError(f"column {name!r}: {error}")
    return row


def parquet_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        ValueError: If it is damaged, or not a Parquet file.
    """
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is damaged, or not a Parquet file: {error}") from error


@functools.lru_cache(maxsize=64)
def _group_starts(path: Path, _: tuple[int, ...]) -> list[int]:
    metadata = parquet_file(path).metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return list(itertools.accumulate(sizes, initial=0))[:-1] or [0]


def row_group(path: Path, position: int) -> tuple[int, int]:
    """Return the number and the first row of the row group that holds a row."""
    starts = _group_starts(path, tuple(size_and_time(path)))
    group = bisect.bisect_right(starts, position) - 1
    return group, starts[group]


def size_and_time(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def list_posts(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
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


def folder_rows(folder: Path) -> Iterator[RawRow]:
    for post_id, names in list_posts(folder)[0].items():
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
