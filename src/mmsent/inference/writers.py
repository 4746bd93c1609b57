"""Write prediction records to JSONL, CSV and Parquet files."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PARQUET_ROWS = 10_000  # rows of a row group
WHOLE_ROWS = 1000  # the same where rows may hold the bytes of images

Write = Callable[[dict], None]


@contextmanager
def write_jsonl(path: Path, labels: list[str]) -> Iterator[Write]:
    """Yield a function that writes one record as a JSON object per line."""
    with path.open("w", encoding="utf-8") as file:
        yield lambda record: file.write(json.dumps(record, ensure_ascii=False) + "\n")


@contextmanager
def write_csv(path: Path, labels: list[str]) -> Iterator[Write]:
    """Yield a function that writes one record as a row of a CSV file, with one score column per label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_columns(labels))
        yield lambda record: writer.writerow(_cells(record))


@contextmanager
def write_parquet(path: Path, labels: list[str]) -> Iterator[Write]:
    """Yield a function that writes one record as a row of a Parquet file, with the same columns as `write_csv`."""
    types = [pa.int64(), pa.string(), pa.string(), *[pa.float64()] * len(labels), pa.string()]
    schema = pa.schema(list(zip(_columns(labels), types, strict=True)))
    buffer: list[list] = []

    def flush() -> None:
        rows = [dict(zip(schema.names, cells, strict=True)) for cells in buffer]
        writer.write_table(pa.Table.from_pylist(rows, schema))
        buffer.clear()

    def write(record: dict) -> None:
        buffer.append(_cells(record))
        if len(buffer) == PARQUET_ROWS:
            flush()

    with pq.ParquetWriter(path, schema) as writer:
        yield write
        flush()


def write_table(rows: Iterable[dict], columns: list[str], path: Path, schema: pa.Schema | None = None) -> int:
    """Write rows with these columns as CSV, JSONL or Parquet, by the suffix of the path, and return their number.

    Args:
        schema: The types of the columns in Parquet; by default those of the values, which are then all in memory.
    """
    rows, count = ({column: row.get(column) for column in columns} for row in rows), 0
    if path.suffix.lower() == ".parquet":
        if schema is None:
            rows = list(rows)
            schema = pa.Table.from_pylist(rows).schema
        rows = iter(rows)
        with pq.ParquetWriter(path, schema) as writer:
            while batch := list(islice(rows, WHOLE_ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, schema))
                count += len(batch)
        return count
    is_csv = path.suffix.lower() == ".csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_csv:
            writer.writerow(columns)
        for row in rows:
            if is_csv:
                writer.writerow(map(_cell, row.values()))
            else:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _columns(labels: list[str]) -> list[str]:
    return ["row", "id", "prediction", *(f"score_{label}" for label in labels), "reason"]


def _cells(record: dict) -> list:
    return [record["row"], record["id"], record["prediction"], *record["scores"].values(), record.get("reason")]


# suffix of the output -> the function that opens a writer for the path and the label names
WRITERS: dict[str, Callable[[Path, list[str]], AbstractContextManager[Write]]] = {
    ".jsonl": write_jsonl,
    ".csv": write_csv,
    ".parquet": write_parquet,
}
