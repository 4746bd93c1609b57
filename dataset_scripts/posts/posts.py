"""posts: your own posts, from a table or a folder of tables."""

<<<<<<< HEAD
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from ..common_columns import FIELDS
from ..common_corpus import Corpus, with_clean
from ..common_posts import RowReader, open_posts
from ..common_rows import TABLES
from .index import SPLIT_OF
from .plan import PostsConfig, make_plan, shared_row

FORMS = "a CSV, TSV, JSONL or Parquet file, several, or a folder of them"
=======
from itertools import groupby

import numpy as np

from ..common_corpus import Corpus, with_clean
from ..common_posts import RowReader
from .files import locate_tables
from .plan import PostsConfig, make_plan, open_tables, shared_row
>>>>>>> wt-f


class Posts(Corpus):
    """A corpus of the user's own posts. `PostsConfig` has its options.

    It adds the columns `caption` and `group` if the table has them.
    """

    DESCRIPTION = "Posts of a table, with the label that each has there."
    REDISTRIBUTION = ("unclear", "it depends on who wrote the posts and took the pictures")
    BUILDER_CONFIG_CLASS = PostsConfig
    BUILDER_CONFIGS = with_clean(PostsConfig("default", "1.0.0", description="Splits of the table, or drawn ones."))
    DEFAULT_CONFIG_NAME = "default"

    @classmethod
    def locate(cls, name, data_dir, data_files):
<<<<<<< HEAD
        if data_dir is None and not data_files:
            raise ValueError(f"{name} are read from a table of yours: pass data_files or data_dir, {FORMS}")
        if data_files:
            tables = _by_split(data_files, Path(data_dir or ".").expanduser())
        else:
            tables = find_tables(Path(data_dir).expanduser())
        paths = [path for members in tables.values() for path in members]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"there is no file {path}; pass {FORMS}")
=======
        tables = locate_tables(name, data_dir, data_files)
        paths = [path for members in tables.values() for path in members]
>>>>>>> wt-f
        return {"tables": {split: [str(path) for path in members] for split, members in tables.items()}}, paths

    def columns(self) -> None:
        """Return None: the columns depend on the table, which `_split_generators` reads."""

    def _split_generators(self, dl_manager):
<<<<<<< HEAD
        config = self.config
        image_dir = None if config.image_dir is None else Path(config.image_dir).expanduser()
        tables = {
            split: [
                open_posts(Path(path), config.chosen_columns(), image_dir, config.allow_absolute_paths, FIELDS)
                for path in paths
            ]
            for split, paths in config.tables.items()
        }
        plan = make_plan(tables, config)
=======
        tables = open_tables(self.config)
        plan = make_plan(tables, self.config)
>>>>>>> wt-f
        index, self.info.features = plan.index, plan.features
        splits = {split: [index.ids[row] for row in rows] for split, rows in plan.splits.items()}
        sources = {index.ids[row]: int(row) for rows in plan.splits.values() for row in rows}
        return self.generators(
            splits,
            sources,
            plan.notes,
            tables=tuple(table for members in tables.values() for table in members),
            table_numbers=np.asarray(index.tables),
            positions=np.asarray(index.positions),
            classes=index.classes,
        )

    def _generate_examples(self, chunks, **context):
        readers = tuple(RowReader(table) for table in context["tables"])
        return super()._generate_examples(chunks, readers=readers, **context)

    def read_chunk(self, posts, tables, table_numbers, positions, classes, readers):
        for number, members in groupby(posts, key=lambda post: table_numbers[post[1]]):
            members = list(members)
            rows = readers[number].read(int(positions[row]) for _, row in members)
            for (post_id, _), row in zip(members, rows, strict=True):
                yield {"id": post_id} | shared_row(tables[number], row, classes)
<<<<<<< HEAD


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
    for name in [names] if isinstance(names, str | Path) else names:
        path = folder / Path(name).expanduser()
        paths += [entry.resolve() for entry in sorted(path.parent.glob(path.name)) or [path]]
    return paths
=======
>>>>>>> wt-f
