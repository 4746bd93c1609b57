"""Run every case of the table through every entry point that takes it."""

from shutil import copytree

import pytest
import tiny
from hostile_case import bounded, judge, writes_only
from hostile_entries import Model, World
from hostile_table import TABLE

from mmsent.modeling import ARCHITECTURES


@pytest.fixture(scope="session")
def models(backbones, tmp_path_factory):
    """Return the small model of an architecture by its name, made once."""
    made = {}

    def models(name: str) -> Model:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            reads_aspect = "aspect" in ARCHITECTURES[name].reads
            for part in tiny.build(name, "own", backbones, **({"aspects": ["coffee"]} if reads_aspect else {})):
                part.save_pretrained(folder)
            made[name] = Model(folder, "coffee" if reads_aspect else None)
        return made[name]

    return models


# Mended by branches that are not merged yet. Delete this, and its use, when they are.
WAITING = {
    "models": lambda case: case.says is not None,
    "tables": lambda case: case.name.endswith(".parquet"),
    "train.py": lambda case: case.name.startswith(("recipe", "--dataset_kwargs classes", "--init_from")),
}
# Groups that depend on the architecture, and entry points that do not.
EVERYWHERE = ("image files", "texts", "aspects", "models")
ONCE = ("audit_image", "export_image", "explain_model", "demo_image", "demo_table_image", "demo_text")


def rows():
    for architecture, row in ARCHITECTURES.items():
        for name, group in TABLE.items():
            is_first = architecture == ("mimn" if group.aspect else "comn")
            if group.aspect not in (None, "aspect" in row.reads) or not (is_first or name in EVERYWHERE):
                continue
            for entry, case in group.pairs():
                if not is_first and entry.__name__ in ONCE:
                    continue
                marks = [] if is_first and entry.__name__ not in group.late else [pytest.mark.slow]
                if WAITING.get(name, lambda case: False)(case):
                    marks.append(pytest.mark.xfail(reason="waits for a mend", run=case.name != "recipe: a pipe"))
                label = f"{architecture}-{name}-{entry.__name__}-{case.name[:40]}"
                values = (architecture, group, entry, case)
                yield pytest.param(*values, marks=marks, id=label.encode("ascii", "replace").decode())


@pytest.mark.parametrize(("architecture", "group", "entry", "case"), rows())
def test_case(architecture, group, entry, case, models, tmp_path, monkeypatch):
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    output.mkdir()
    model = models(architecture)
    _ = model.good_scores, "demo" in entry.__name__ and model.demo
    made = case.make(copytree(model.folder, inputs / "model") if group.copied else inputs)
    world = World(model, inputs, output, case)
    with writes_only(tmp_path, output, monkeypatch), bounded():
        outcome = entry(world, made)
    judge(case, entry.__name__, outcome)


def test_number_of_cases():
    assert sum(len(group.cases) for group in TABLE.values()) >= 300
    assert sum(len(group.pairs()) for group in TABLE.values()) >= 600
