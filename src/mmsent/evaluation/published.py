"""The figures that the papers publish: one row per line of their tables, read from `published.yaml`."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmsent.dataset_scripts.common_arguments import read_yaml

SOURCE = Path(__file__).with_suffix(".yaml")
ENTRIES = ("stated", "without_recipe", "measured", "note")  # of a row; its other entries are the figures of a corpus


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper's table.

    Attributes:
        key: PAPER/TABLE/ROW, by which recipes name the row.
        paper: The paper's short name.
        source: The paper's authors and venue.
        table: "Table 1", or what a table without a known number compares, or a part of the paper.
        name: The name of the row in its table.
        figures: The figures by corpus and then by metric, as text with the paper's number of decimals, in percent.
        stated: The settings that the paper states for the row, by the names that they have here.
        without_recipe: Why the row cannot be repeated; None if a recipe repeats it.
        measured: Files of results/, as CORPUS/NAME, with scores of the system in another setting.
        note: What a reader of the figures should know, or None.
    """

    key: str
    paper: str
    source: str
    table: str
    name: str
    figures: dict[str, dict[str, str]]
    stated: dict[str, Any]
    without_recipe: str | None
    measured: tuple[str, ...]
    note: str | None

    def measured_for(self, corpus: str) -> list[str]:
        """Return what of `measured` belongs to the row's figures on a corpus: all that is not on another of them."""
        return [name for name in self.measured if name.split("/")[0] not in self.figures.keys() - {corpus}]

    def describe(self, corpus: str) -> str:
        """Return the figures on a corpus and where they stand: "accuracy 70.07, F1 68.03 (CoMN, ..., Table 1)"."""
        figures = ", ".join(f"{metric} {figure}" for metric, figure in self.figures[corpus].items())
        return f"{figures} ({self.name}; {self.paper}: {self.source}, {self.table})"


@cache
def papers() -> dict[str, dict]:
    """Return the content of `published.yaml` by paper."""
    return read_yaml(SOURCE.read_text(encoding="utf-8"))


def table_name(table: str | int) -> str:
    """Return what a table is called: those without a known number have the name of what they compare."""
    return f"Table {table}" if isinstance(table, int) else table


@cache
def published_rows() -> dict[str, PublishedRow]:
    """Return all rows by key, in the order of the papers."""
    rows = {}
    for paper, content in papers().items():
        for table, part in content["tables"].items():
            for name, row in part["rows"].items():
                key = f"{paper}/{table}/{name}"
                figures = {
                    corpus: {
                        metric: f"{value:.{content['decimals']}f}"
                        for metric, value in zip(part["metrics"], values, strict=True)
                    }
                    for corpus, values in row.items()
                    if corpus not in ENTRIES
                }
                stated = content.get("stated", {}) | part.get("stated", {}) | row.get("stated", {})
                names = (content["title"], content["source"], table_name(table), str(name))
                measured = tuple(row.get("measured", ()))
                reasons = row.get("without_recipe"), measured, row.get("note")
                rows[key] = PublishedRow(key, *names, figures, stated, *reasons)
    return rows


def check_published(keys: Iterable[str]) -> None:
    """Check that the keys name rows.

    Raises:
        ValueError: If one does not.
    """
    for key in keys:
        if key not in published_rows():
            raise ValueError(
                f"published={key}: the papers have no such row; {SOURCE.name} has them as PAPER/TABLE/ROW."
            )


def describe_published(keys: Iterable[str], corpus: str) -> list[str]:
    """Return a sentence part for each of the rows that has figures on a corpus."""
    rows = [published_rows()[key] for key in keys]
    return [row.describe(corpus) for row in rows if corpus in row.figures]
