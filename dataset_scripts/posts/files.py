"""Find the files that hold the posts. Streaming replaces `Path` in the module of a corpus, and not here."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..common_rows import TABLES
from .index import SPLIT_OF

FORMS = "a CSV, TSV, JSONL or Parquet file, several, or a folder of them"


def locate_tables(
    name: str, data_dir: str | Path | None, data_files: str | Path | Sequence | Mapping | None
) -> dict[str, list[Path]]:
    """Return the tables that `load_dataset` is to read, by split, or by "" if their splits must be found.

    Raises:
        ValueError: If neither `data_dir` nor `data_files` is given, or `data_files` has another split.
        OSError: If a file or folder does not exist.
    """
    if data_dir is None and not data_files:
        raise ValueError(f"{name} are read from a table of yours: pass data_files or data_dir, {FORMS}")
    if data_files:
        tables = _by_split(data_files, Path(data_dir or ".").expanduser())
    else:
        tables = find_tables(Path(data_dir).expanduser())
    for path in (path for members in tables.values() for path in members):
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}; pass {FORMS}")
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file; pass {FORMS}")
    return tables


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """Return the tables in a folder, and in the folders in it, by split, or by "" if their names do not tell it.

    Raises:
        OSError: If there is no such folder, or no table in it.
    """
    if folder.is_file():
        return {"": [folder.resolve()]}
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; pass {FORMS}")
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    paths = sorted(
        path.resolve()
        for each in [folder, *inner]
        for path in each.iterdir()
        if path.suffix.lower() in TABLES and not path.name.startswith(".")
    )
    if not paths:
        raise FileNotFoundError(f"{folder} has no table of posts ({', '.join(TABLES)}); pass {FORMS}")
    return _by_name(paths, folder)


def _by_name(paths: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Return files by the split that their names tell. The others are ignored if some tell it."""
    tables: dict[str, list[Path]] = {}
    for path in paths:
        names = [path.stem, path.parent.name] if path.parent != folder.resolve() else [path.stem]
        found = [{SPLIT_OF[word] for word in re.split(r"[^a-z]+", n.casefold()) if word in SPLIT_OF} for n in names]
        split = next((next(iter(splits)) for splits in found if len(splits) == 1), "")
        tables.setdefault(split, []).append(path)
    named = {split: members for split, members in tables.items() if split}
    return named if len(named) > 1 else {"": next(iter(named.values()), list(paths))}


def _by_split(data_files: str | Path | Sequence | Mapping, folder: Path) -> dict[str, list[Path]]:
    """Return the files of `data_files`, which `load_dataset` takes too, by split."""
    if not isinstance(data_files, Mapping):
        paths = _paths(data_files, folder)
        return _by_name(paths, folder) if len(paths) > 1 else {"": paths}
    unknown = [str(split) for split in data_files if str(split).casefold() not in SPLIT_OF]
    if unknown:
        raise ValueError(f"data_files has the split {unknown[0]}, which is not one of train, validation and test")
    return {SPLIT_OF[split.casefold()]: _paths(names, folder) for split, names in data_files.items()}


def _paths(names: str | Path | Sequence, folder: Path) -> list[Path]:
    paths = []
    for name in [names] if isinstance(names, str | os.PathLike) else names:
        path = folder / Path(name).expanduser()
        paths += [entry.resolve() for entry in sorted(path.parent.glob(path.name)) or [path]]
    return paths
