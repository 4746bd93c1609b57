"""Give a loaded dataset, from the Hub or from `save_to_disk`, the columns that all corpora share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    Image,
    IterableDataset,
    IterableDatasetDict,
    List,
    Value,
    concatenate_datasets,
)

from ..common_columns import FIELDS, find_columns, missing_columns
from ..common_corpus import describe_build
from ..common_posts import PostTable, class_names
from ..common_schema import features
from .index import SPLIT_OF, content_id, require_label, text_cell
from .labels import Labels
from .plan import EXTRA, PostsConfig, make_plan, shared_row

DESCRIPTION = "Posts of a dataset, with the columns that all corpora share."


@dataclass(kw_only=True)
class DatasetTable(PostTable):
    """A split of a dataset as a table of posts."""

    rows: Dataset | None

    def located(self, start: int = 0) -> Iterator[tuple[int, dict]]:
        columns = [
            name for names in self.columns.values() for name in ([names] if isinstance(names, str) else names or [])
        ]
        rows = self.rows.select_columns(list(dict.fromkeys(columns)))
        return ((position, rows[position]) for position in range(start, len(rows)))

    def entry(self, position: int) -> int:
        return position


def to_posts(corpus: Mapping[str, Any] | Dataset, **options) -> DatasetDict | IterableDatasetDict:
    """Return a dataset with the columns that all corpora share.

    Args:
        corpus: A dataset, or datasets by split. If it names no splits, they are drawn.
        options: Options of `PostsConfig`.

    Raises:
        ValueError: If an option, a column or a row cannot be used, or a stream does not say what its classes are.
    """
    unknown = sorted(set(options) - {field.name for field in fields(PostsConfig)})
    if unknown:
        raise ValueError(f"there is no option {', '.join(unknown)} for posts; see dataset_scripts/posts/README.md")
    config = PostsConfig("default", **options)
    splits = dict(corpus) if isinstance(corpus, Mapping) else {"train": corpus}
    known = {name: SPLIT_OF[name.casefold()] for name in splits if name.casefold() in SPLIT_OF}
    tables = {name: _open(name, splits[name], config) for name in known or splits}
    if any(isinstance(rows, IterableDataset) for rows in splits.values()):
        return _stream(splits, tables, known, config)
    by_split: dict[str, list[DatasetTable]] = {}
    for name, table in tables.items():
        by_split.setdefault(known[name] if len(known) > 1 else "", []).append(table)
    plan = make_plan(by_split, config)
    listed = [table for members in by_split.values() for table in members]
    mapped = DatasetDict()
    for split, rows in plan.splits.items():
        parts = []
        for number, table in enumerate(listed):
            mine = [int(row) for row in rows if plan.index.tables[row] == number]
            if mine:
                parts.append(
                    table.rows.select([plan.index.positions[row] for row in mine]).map(
                        _map_row,
                        with_indices=True,
                        remove_columns=table.rows.column_names,
                        features=plan.features,
                        fn_kwargs={
                            "table": replace(table, rows=None),
                            "classes": plan.index.classes,
                            "ids": [plan.index.ids[row] for row in mine],
                        },
                        desc=f"{split}: reading posts",
                    )
                )
        mapped[split] = concatenate_datasets(parts)
        mapped[split].info.description = describe_build(DESCRIPTION, {}, plan.notes)
    return mapped


def _map_row(row: dict, number: int, table: DatasetTable, classes: Labels, ids: list[str]) -> dict:
    return {"id": ids[number]} | shared_row(table, row, classes)


def _open(name: str, rows: Dataset | IterableDataset, config: PostsConfig) -> DatasetTable:
    """Return a split as a table whose images are not decoded."""
    columns = find_columns(list(rows.features), config.chosen_columns(), FIELDS, name)
    if columns["text"] is None and columns["images"] is None:
        raise missing_columns(("text", "images"), list(rows.features), name)
    for column in columns["images"] or ():
        feature = rows.features[column]
        if isinstance(feature, Image):
            rows = rows.cast_column(column, Image(decode=False))
        elif isinstance(feature, List) and isinstance(feature.feature, Image):
            rows = rows.cast_column(column, List(Image(decode=False)))
    # The paths of `datasets.Image` are those that `datasets` found, wherever they lie.
    trusted = any(not isinstance(_inner(rows.features[column]), Value) for column in columns["images"] or ())
    return DatasetTable(
        name,
        list(rows.features),
        columns,
        Path(config.image_dir or "."),
        config.allow_absolute_paths or trusted,
        class_names(rows.features, columns),
        rows=rows,
    )


def _inner(feature: Any) -> Any:
    return feature.feature if isinstance(feature, List) else feature


def _stream(
    splits: Mapping[str, IterableDataset],
    tables: Mapping[str, DatasetTable],
    known: dict[str, str],
    config: PostsConfig,
) -> IterableDatasetDict:
    """Map streams post by post. What would need a pass over all posts is refused."""
    if len(known) < 2 or config.splits is not None:
        raise ValueError(f"a stream cannot be split: it has {', '.join(splits)}; load it without streaming")
    streams = IterableDatasetDict()
    for name, table in tables.items():
        require_label(table)
        names = config.label_names or table.classes.get("label")
        if names is None:
            raise ValueError(f"{name}: the classes of a stream are not known; give them, as label_names=[bad, good]")
        extra = {name: Value("string") for name in EXTRA if table.columns.get(name)}
        light = {"table": replace(table, rows=None)}
        posts = table.rows.filter(_has_label, fn_kwargs=light)
        posts = posts.map(_stream_row, fn_kwargs=light | {"names": list(names)}, remove_columns=posts.column_names)
        streams[known[name]] = posts.cast(features(names, **extra))
    return streams


def _has_label(row: dict, table: DatasetTable) -> bool:
    return table.label(row, "label") not in (None, "")


def _stream_row(row: dict, table: DatasetTable, names: list[str]) -> dict:
    classes = Labels(names)
    for name in ("label", "text_label", "image_label"):
        classes.code(table.label(row, name))
    post_id = text_cell(table, row, "id") or content_id(table, table.post(row), row)
    return {"id": post_id} | shared_row(table, row, classes)
