"""The table: each group of cases, and the entry points that take such an input."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hostile_entries as entries
import hostile_entries_more as more
from hostile_case import Case
from hostile_commands import IDS, OUTPUTS, PORTS, RECIPES, TRAIN, WORDS
from hostile_corpora import CORPORA
from hostile_images import ADDRESSES, IMAGE_FILES, IMAGE_OBJECTS
from hostile_models import MODELS
from hostile_posts import FOLDERS, TABLES
from hostile_texts import ASPECTS, TEXTS

NOWHERE = Path("nowhere")


@dataclass(frozen=True)
class Group:
    """Cases of one kind of input.

    Args:
        cases: The cases.
        entries: The entry points that take any of them.
        some: The entry points that take those for which a function is true.
        copied: Whether the cases damage a copy of the model.
        late: The names of the entry points that only the slow suite runs.
        aspect: Whether the cases are for models with an aspect only (True), without one only (False), or for both.
    """

    cases: list[Case]
    entries: tuple[Callable, ...]
    some: dict[Callable, Callable[[Case], bool]]
    late: tuple[str, ...] = ()
    aspect: bool | None = None
    copied: bool = False

    def entries_of(self, case: Case) -> list[Callable]:
        return [*self.entries, *(entry for entry, takes in self.some.items() if takes(case))]


def is_string(case: Case) -> bool:
    return isinstance(case.make(NOWHERE), str)


def is_json(case: Case) -> bool:
    return not isinstance(case.make(NOWHERE), bytes)


def is_upload(case: Case) -> bool:
    return case.upload


TABLE = {
    "image files": Group(
        IMAGE_FILES,
        (
            entries.processor,
            entries.pipeline,
            entries.predict,
            entries.explain,
            more.audit_image,
            more.export_image,
            more.train_image,
        ),
        {entries.demo_image: is_upload, entries.demo_table_image: is_upload},
        late=("pipeline", "audit_image", "export_image", "train_image", "demo_image", "demo_table_image"),
    ),
    "image objects": Group(IMAGE_OBJECTS, (entries.processor, entries.pipeline), {}),
    "addresses": Group(ADDRESSES, (entries.pipeline_with_addresses,), {}),
    "texts": Group(
        TEXTS,
        (entries.processor_text, entries.pipeline_text),
        {entries.predict_text: is_json, entries.explain_text: is_string, entries.demo_text: is_string},
        late=("explain_text", "demo_text"),
    ),
    "aspects": Group(
        ASPECTS,
        (entries.processor_aspect, entries.pipeline_aspect),
        {entries.predict_aspect: is_json, entries.explain_aspect: is_string, entries.demo_aspect: is_string},
        late=("explain_aspect", "demo_aspect"),
        aspect=True,
    ),
    "tables": Group(
        TABLES, (entries.predict_table,), {entries.demo_table: is_upload}, late=("demo_table",), aspect=False
    ),
    "folders": Group(FOLDERS, (entries.predict_table,), {}, aspect=False),
    "models": Group(
        MODELS,
        (entries.load_folder, entries.predict_model, entries.explain_model, more.push_model, more.train_from),
        {},
        late=("explain_model", "push_model", "train_from"),
        copied=True,
    ),
    "corpora": Group(
        CORPORA,
        (more.load_release, more.audit_release, more.export_release),
        {},
        late=("audit_release", "export_release"),
        aspect=False,
    ),
    "train.py": Group([*TRAIN, *RECIPES], (more.train,), {}, aspect=False),
    "words": Group(WORDS, (more.read_words,), {}, aspect=False),
    "outputs": Group(
        OUTPUTS,
        (more.predict_output, more.explain_output, more.audit_output, more.export_output, more.push_output),
        {more.train_output: lambda case: True},
        late=("train_output",),
        aspect=False,
    ),
    "ids": Group(IDS, (more.push_id,), {}, aspect=False),
    "ports": Group(PORTS, (more.demo_port,), {}, aspect=False),
}
