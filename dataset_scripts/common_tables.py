"""Read tables as CSV and TSV files, and recover after a broken row."""

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .common_files import open_file, refuse_utf16, text_encoding

# The maximum length of a cell in characters. It limits how much an unclosed quote swallows before it is an error.
MAX_CELL = 10_000_000
UNDECODED = re.compile("[\udc80-\udcff]")  # Python decodes invalid bytes to these with errors="surrogateescape".


class Record(NamedTuple):
    """A record of a table.

    Args:
        offset: Position of its first byte in the file.
        line: Number of its first line, counted from 1.
        cells: Its cells, or an error that names the line if the record cannot be read.
    """

    offset: int
    line: int
    cells: list[str] | ValueError


def decode_utf8(raw: bytes) -> str:
    """Decode UTF-8; `read_records` reports a record with invalid bytes as an error."""
    return raw.decode("utf-8-sig", "surrogateescape")


def decode_utf8_or_gb18030(raw: bytes) -> str:
    """Decode UTF-8, or else GB18030, as in releases of Chinese authors; other bytes as in `decode_utf8`."""
    return raw.decode("gb18030") if text_encoding(raw) == "gb18030" else decode_utf8(raw)


def read_table(
    path: Path, columns: Iterable[str], decode: Callable[[bytes], str] = decode_utf8
) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Yield offset, line and {column: cell} of each row of a comma-separated table whose first line names the columns.

    Args:
        columns: Columns that the table must have. It may have others.
        decode: Decodes a line.
    """
    with open_file(path) as file:
        records = read_records(file, decode=decode)
        header = _header(path, records)
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(f"{path}, line 1: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}")
        for offset, line, cells in records:
            if isinstance(cells, ValueError):
                raise ValueError(f"{path}, {cells}; correct the row") from cells
            yield offset, line, dict(zip(header, cells, strict=True))


def read_rows_at(
    path: Path, offsets: Iterable[int], decode: Callable[[bytes], str] = decode_utf8
) -> Iterator[dict[str, str]]:
    """Yield the rows of a table that begin at these offsets, which come from an earlier `read_table`.

    The table is never in memory as a whole, and several processes can each read a part of it.
    """
    with open_file(path) as file:
        header = _header(path, read_records(file, decode=decode))
        for offset in offsets:
            file.seek(offset)
            yield dict(zip(header, next(read_records(file, decode=decode)).cells, strict=True))


def read_header(path: Path, delimiter: str) -> list[str]:
    """Return the column names of a UTF-8 table, without reading more than its first record."""
    with open_file(path) as file:
        return _header(path, read_records(file, delimiter))


def require_posts(path: Path, count: int, is_split: bool = True) -> None:
    """Raise a ValueError if a file has no posts. The split of such a file would be missing without a word."""
    if not count:
        advice = ", or remove it to load the corpus without this split" if is_split else ""
        raise ValueError(f"{path}, line 1: the file has no posts; get it again{advice}")


def read_records(
    file: BinaryIO, delimiter: str = ",", decode: Callable[[bytes], str] = decode_utf8
) -> Iterator[Record]:
    """Yield the records of a table from the current position of `file`. Empty lines are skipped.

    Each record must have as many cells as the first one. If a line does not begin a valid record, only this line is
    an error: the lines that an open quote swallowed are read again.
    """
    offset, line, header = file.tell(), 1, None
    unread: deque[bytes] = deque()
    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        while True:
            if not unread:
                unread.extend(file.readline().splitlines(keepends=True))
            if not unread:
                return
            taken.append(unread.popleft())
            yield decode(taken[-1])

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        limit = csv.field_size_limit(MAX_CELL)
        try:
            cells = next(reader, None)
            problem = _problem(cells, header) if cells else None
        except csv.Error as error:
            problem = str(error)
        finally:
            csv.field_size_limit(limit)
        if problem:
            unread.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(lines(), delimiter=delimiter, strict=True)
            yield Record(offset, line, ValueError(f"line {line}: {problem}"))
        elif cells is None:
            return
        elif cells:
            header = header or cells
            yield Record(offset, line, cells)
        offset += sum(map(len, taken))
        line += len(taken)


def _header(path: Path, records: Iterator[Record]) -> list[str]:
    refuse_utf16(path)
    _, line, cells = next(records, Record(0, 1, []))
    if isinstance(cells, ValueError):
        raise ValueError(f"{path}, {cells}")
    names = [name.strip() for name in cells]
    refuse_repeated_columns(names, f"{path}, line {line}")
    return names


def refuse_repeated_columns(names: list[str], where: str) -> None:
    """Raise a ValueError if two columns have one name, because a row would lose one of their cells."""
    repeated = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if repeated:
        raise ValueError(f"{where}: two columns have the name {repeated[0]!r}; rename or remove one of them")


def _problem(cells: list[str], header: list[str] | None) -> str | None:
    """Return what is wrong with a record, or None. The first record of a table has no header to compare with."""
    names = header or cells
    if len(cells) != len(names):
        missing = f"; column {names[len(cells)]!r} is missing" if len(cells) < len(names) else ""
        return (
            f"{len(cells)} columns where the header names {len(names)}{missing}; put cells that hold a delimiter or a "
            "line end in quotes"
        )
    for name, cell in zip(names, cells, strict=True):
        if UNDECODED.search(cell):
            return f"not UTF-8 in column {name!r}" if header else "not UTF-8"
    return None
