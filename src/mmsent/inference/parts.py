"""The files in which the processes of `mmsent predict` write their progress, and the files that come of them."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mmsent.dataset_scripts.common_files import atomic_write, name_full_disk, remove_leftovers

from .unsure import abstain
from .writers import WRITERS, write_jsonl


def refuse_complete(output: Path) -> None:
    """Raise a ValueError if an earlier command has written `output` completely."""
    # The part of the first process is deleted last: without it the command has ended.
    if output.exists() and not part_path(output, 0).exists():
        raise ValueError(f"{output} exists already: delete it, or choose another --output.")


def open_part(output: Path, process: int, settings: dict) -> tuple[BinaryIO, int]:
    """Open the part of one process, whose first line holds the settings.

    A last line that is incomplete because the process was killed is removed.

    Returns:
        The file, and the number of the last row that is in it (0 for a new part).

    Raises:
        ValueError: If `output` exists, or the part was begun with other settings.
    """
    path = part_path(output, process)
    refuse_complete(output)
    part = path.open("ab+")
    part.seek(0)
    size, first, last = 0, None, None
    for line in part:
        if line.endswith(b"\n"):
            size, first, last = size + len(line), first or line, line
    part.truncate(size)
    if first is None:
        with name_full_disk(path):
            part.write(json.dumps({"row": 0, "settings": settings}).encode() + b"\n")
            part.flush()
        return part, 0
    earlier = json.loads(first)["settings"]
    changes = [
        f"{name} was {earlier.get(name)} and is now {value}"
        for name, value in settings.items()
        if earlier.get(name) != value
    ]
    if changes:
        part.close()
        raise ValueError(f"{path} was begun with other settings: {'; '.join(changes)}. Delete it to start again.")
    return part, json.loads(last)["row"]


def merge(parts: list[Path], output: Path, labels: list[str], abstain_below: float = 0.0) -> Counter:
    """Merge the parts into `output` and the file of bad rows, both in the order of the rows.

    Returns:
        The number of rows by kind: "predicted", "empty" if the post says nothing, "doubtful" if its highest score is
        below `abstain_below`, and "bad".
    """
    counts = Counter()
    for path in (output, bad_rows_path(output)):
        remove_leftovers(path)
    with (
        atomic_write(output) as new_output,
        atomic_write(bad_rows_path(output)) as new_bad_rows,
        WRITERS[output.suffix.lower()](new_output, labels) as write,
        write_jsonl(new_bad_rows, labels) as write_bad_row,
    ):
        for record in read_parts(parts):
            kind = "bad" if "error" in record else "empty" if record["prediction"] is None else "predicted"
            if kind == "predicted" and max(record["scores"].values()) < abstain_below:
                kind, record = "doubtful", abstain(record, abstain_below)
            counts[kind] += 1
            (write_bad_row if kind == "bad" else write)(record)
    if not counts["bad"]:
        bad_rows_path(output).unlink()
    return counts


def part_path(output: Path, process: int) -> Path:
    """Return the path of the part of a process."""
    return output.with_name(f"{output.name}.part-{process}.jsonl")


def bad_rows_path(output: Path) -> Path:
    """Return the path of the rows that could not be predicted."""
    return output.with_name(f"{output.name}.bad.jsonl")


def read_parts(parts: list[Path]) -> Iterator[dict]:
    """Return the records of all parts in the order of the rows."""
    return heapq.merge(*map(_read_part, parts), key=lambda record: record["row"])


def _read_part(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        next(lines)  # the settings
        yield from map(json.loads, lines)
