"""Run every case of the table through every entry point that takes it."""

import json
from collections.abc import Callable
from shutil import copytree

import pytest
import tiny
from hostile_case import Outcome, bounded, judge, writes_only
from hostile_entries import GOOD, Model, World, predict_rows
from hostile_entries_more import train_on_images
from hostile_table import TABLE, Group, is_json

from mmsent.explanation import explain as explaining
from mmsent.hub import staging
from mmsent.inference import predict as predicting
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


# Groups that depend on the architecture. Entry points that do not, or that pass on what others have refused, and those
# that a table with all cases replaces, run for the first architecture only.
EVERYWHERE = ("image files", "texts", "aspects", "models")
ONCE = ("audit_image", "export_image", "train_image", "demo_image", "demo_table_image", "demo_text", "processor")
ONCE += ("predict", "predict_text", "predict_aspect", "predict_model", "explain", "explain_text", "explain_model")
ONCE += ("push_model", "train_from")


def is_first(architecture: str, group: Group) -> bool:
    return architecture == ("mimn" if group.aspect else "comn")


def everywhere(architecture: str) -> tuple[str, ...]:
    """Return the groups that are run for an architecture. Good posts are texts, and damaged models have both encoders,
    so that an architecture that reads no images has bad posts only, and one that reads only images has none."""
    groups = {("text", "image"): EVERYWHERE, ("text",): ("texts", "aspects"), ("image",): ()}
    return groups[tiny.reads(architecture)]


def rows():
    for architecture, row in ARCHITECTURES.items():
        for name, group in TABLE.items():
            first = is_first(architecture, group)
            if group.aspect not in (None, "aspect" in row.reads) or not (first or name in everywhere(architecture)):
                continue
            for case in group.cases:
                entries = [entry for entry in group.entries_of(case) if first or entry.__name__ not in ONCE]
                late = [entry for entry in entries if not first or entry.__name__ in group.late]
                soon = [entry for entry in entries if entry not in late]
                label = f"{architecture}-{name}-{case.name[:40]}".encode("ascii", "replace").decode()
                for some, marks in ((soon, []), (late, [pytest.mark.slow])):
                    if some:
                        yield pytest.param(architecture, group, some, case, marks=marks, id=label)


def once(load: Callable) -> Callable:
    """Load each model once, since loading takes most of the time of a case; an error is raised again."""
    results = {}

    def load_once(model: str, *args):
        if model not in results:
            try:
                results[model] = load(model, *args)
            except Exception as error:
                results[model] = error
        if isinstance(results[model], Exception):
            raise results[model]
        return results[model]

    return load_once


@pytest.mark.parametrize(("architecture", "group", "some", "case"), list(rows()))
def test_case(architecture, group, some, case, models, tmp_path, monkeypatch):
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    model = models(architecture)
    _ = model.good_scores, any("demo" in entry.__name__ for entry in some) and model.demo
    if group.copied:
        copytree(model.folder, inputs / "model")
        for file in ("run.json", "settings.json"):
            (inputs / "model" / file).write_text("{}")
    made = case.make(inputs / "model" if group.copied else inputs)
    if group.copied:
        load = once(predicting.load_pipeline)
        for module in (predicting, explaining, staging):
            monkeypatch.setattr(module, "load_pipeline", load)
    for entry in some:
        folder = output / entry.__name__
        folder.mkdir(parents=True)
        with writes_only(tmp_path, folder, monkeypatch), bounded():
            outcome = entry(World(model, inputs, folder, case), made)
        judge(case, entry.__name__, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image files", "texts", "aspects"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_in_one_table(architecture, name, models, tmp_path, monkeypatch):
    """Bad posts beside each other, in one batch, change neither each other's reasons nor the scores of the others."""
    group, key = TABLE[name], {"image files": "images", "texts": "text", "aspects": "aspect"}[name]
    if is_first(architecture, group) or group.aspect not in (None, "aspect" in ARCHITECTURES[architecture].reads):
        pytest.skip("each case has a table of its own")
    if name not in everywhere(architecture):
        pytest.skip("it does not read this part")
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    model = models(architecture)
    world = World(model, tmp_path / "in", tmp_path / "out")
    cases = [case for case in group.cases if name == "image files" or is_json(case)]
    rows = [model.post(text=GOOD)]
    for case in cases:
        made = case.make(world.inputs)
        rows.append(model.post(text=GOOD) | {key: [made.name] if name == "image files" else made})
    with writes_only(tmp_path, world.output, monkeypatch), bounded(60, 800):
        outcome = predict_rows(world, world.inputs, [*rows, model.post(text=GOOD)])
    predicted, bad = outcome.result
    assert world.good(predicted[1]["scores"])
    assert world.good(predicted[len(rows) + 1]["scores"])
    entry = {"images": "predict", "text": "predict_text", "aspect": "predict_aspect"}[key]
    for row, case in enumerate(cases, 2):
        error = bad[row]["error"] if row in bad else predicted[row].get("reason")
        judge(case, entry, Outcome(error))


@pytest.mark.slow
@pytest.mark.parametrize("on_bad_image", ["skip", "missing", "error"])
def test_training_with_all_images(on_bad_image, models, tmp_path):
    """train.py leaves out the posts of bad images, or these images, or names them and stops; good ones stay."""
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    world = World(models("comn"), tmp_path / "in", tmp_path / "out")
    # What is not a regular file is refused before, with its row: see `train_image`.
    cases = [case for case in TABLE["image files"].cases if case.upload]
    paths = [case.make(world.inputs) for case in cases]
    outcome = train_on_images(world, paths, "--on_bad_image", on_bad_image)
    bad = [case for case in cases if case.at.get("predict", case.says)]
    if on_bad_image == "error":
        assert f"{len(bad)} images cannot be decoded" in outcome.error
        return
    assert outcome.error is None, outcome.error
    report = json.loads((world.output / "run/run.json").read_text())
    for case, line in zip(bad, report["bad_images"]["train"], strict=True):
        judge(case, "predict", Outcome(line))
    trained = sum(report["posts"]["train"].values()) if isinstance(report["posts"]["train"], dict) else None
    assert trained in (None, len(cases) - len(bad) * (on_bad_image == "skip"))


def test_number_of_cases():
    assert sum(len(group.cases) for group in TABLE.values()) >= 300
    assert sum(len(group.entries_of(case)) for group in TABLE.values() for case in group.cases) >= 600
