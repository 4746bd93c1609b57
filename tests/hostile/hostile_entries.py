"""The entry points that take a hostile input: functions of a world and the input, which return an `Outcome`."""

import csv
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd  # noqa: F401  imported by gradio before the files are counted
import tiny
from hostile_case import Case, Outcome, call, command

from mmsent.demo import app
from mmsent.explanation import explain as explaining
from mmsent.inference import predict as predicting
from mmsent.modeling.common_images import load_image

GOOD = "good day"


@dataclass
class Model:
    """A small saved model, and what is needed to ask it."""

    folder: Path
    aspect: str | None

    @cached_property
    def pipe(self):
        return predicting.load_pipeline(str(self.folder))

    @cached_property
    def demo(self) -> SimpleNamespace:
        page = app.build(self.pipe, "name")
        return SimpleNamespace(**{entry.name: entry.fn for entry in page.fns.values() if entry.name})

    @cached_property
    def good_scores(self) -> dict[str, float]:
        """The scores of the good post alone. The first explanation imports packages that write files."""
        explaining.explain_post(self.pipe.model, self.pipe.processor, GOOD, [], self.aspect)
        return {entry["label"]: entry["score"] for entry in self.pipe(self.post(text=GOOD))}

    def post(self, **parts) -> dict:
        return ({"aspect": self.aspect} if self.aspect else {}) | parts

    @property
    def flags(self) -> list[str]:
        return ["--aspect", self.aspect] if self.aspect else []


@dataclass
class World:
    """A model, the folder of the inputs of a case, and the folder that it may write to."""

    model: Model
    inputs: Path
    output: Path
    case: Case = field(default=None)

    def good(self, scores: dict[str, float]) -> bool:
        expected = self.model.good_scores
        return all(abs(scores[label] - score) < 2e-6 for label, score in expected.items())


def processor(world: World, image: object) -> Outcome:
    outcome = call(world.model.pipe.processor, images=[image], text=GOOD, aspect=world.model.aspect)
    if outcome.error is None and world.case.shows is not None:
        shown, expected = load_image(image), world.case.shows.convert("RGB")
        size = (min(shown.width, 40), min(shown.height, 30))
        pairs = zip(shown.resize(size).getdata(), expected.resize(size).getdata(), strict=True)
        assert all(abs(a - b) < 24 for pair in pairs for a, b in zip(*pair, strict=True)), "other pixels"
    return outcome


def pipeline(world: World, image: object) -> Outcome:
    return scored(call(world.model.pipe, world.model.post(text=GOOD, image=image)))


def pipeline_with_addresses(world: World, image: object) -> Outcome:
    return scored(call(world.model.pipe, world.model.post(text=GOOD, image=image), allow_urls=True))


def scored(outcome: Outcome) -> Outcome:
    """Check that scores are finite and sum up to 1."""
    if outcome.error is None:
        assert abs(sum(entry["score"] for entry in outcome.result) - 1) < 1e-4, outcome.result
    return outcome


def predict(world: World, image: Path) -> Outcome:
    """An image in a table, between two good posts."""
    rows = [world.model.post(text=GOOD), world.model.post(text=GOOD, images=[image.name]), world.model.post(text=GOOD)]
    return second(world, predict_rows(world, world.inputs, rows))


def second(world: World, outcome: Outcome) -> Outcome:
    """Return what became of the second row, after a check of the good rows around it."""
    predicted, bad = outcome.result
    assert world.good(predicted[1]["scores"])
    assert world.good(predicted[3]["scores"])
    return Outcome(bad[2]["error"] if bad else predicted[2].get("reason"))


def predict_rows(world: World, folder: Path, rows: list[dict]) -> Outcome:
    table = world.output / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return predict_file(world, table, "--image_dir", folder)


def predict_file(world: World, source: Path, *argv: object, model: Path | None = None) -> Outcome:
    """Run `mmsent predict`; the result is the predicted and the bad records by row."""
    output = world.output / "out.jsonl"
    flags = ["--model", world.model.folder if model is None else model, "--input", source, "--output", output, *argv]
    outcome = command(predicting.main, "mmsent predict", *flags)
    if outcome.error is not None:
        return outcome
    predicted, bad = (records(path) for path in (output, output.with_name("out.jsonl.bad.jsonl")))
    assert outcome.result[0] == (1 if bad else 0)
    return Outcome(None, (predicted, bad))


def records(path: Path) -> dict[int, dict]:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {record["row"]: record for record in (json.loads(line, parse_constant=refuse) for line in lines)}


def predict_table(world: World, source: Path) -> Outcome:
    """A table or folder of posts. Aspects are not in the tables, so these cases are for models without aspects."""
    outcome = predict_file(world, source)
    if outcome.error is not None:
        return outcome
    predicted, bad = outcome.result
    for row, says in world.case.bad.items():
        assert row in bad, f"row {row} was accepted"
        assert re.search(says, bad[row]["error"]), bad[row]["error"]
    said = [record for record in predicted.values() if record["prediction"] is not None]
    assert sum(world.good(record["scores"]) for record in said) >= world.case.good, predicted
    assert len(predicted) - len(said) == world.case.empty, predicted
    return outcome


def explain(world: World, image: Path) -> Outcome:
    return explain_post(world, "--image", image, *world.model.flags)


def explain_post(world: World, *argv: object, model: Path | None = None) -> Outcome:
    flags = ["--model", world.model.folder if model is None else model, "--output", world.output / "x.html", *argv]
    return command(explaining.main, "mmsent explain", *flags)


def demo_image(world: World, image: Path) -> Outcome:
    return analysed(world, GOOD, [str(image)], world.model.aspect)


def analysed(world: World, text: str, files: list[str], aspect: str | None) -> Outcome:
    try:
        *_, (scores, section, *_) = world.model.demo.analyse(text, files, aspect, [])
    except gr.Error as error:
        return Outcome(str(error.message))
    assert abs(sum(scores.values()) - 1) < 1e-4
    assert "<script" not in section
    assert "<img src=x" not in section
    return Outcome(None, scores)


def demo_table_image(world: World, image: Path) -> Outcome:
    table = world.output / "table.csv"
    names = [[GOOD, "", world.model.aspect], [GOOD, json.dumps([image.name]), world.model.aspect]]
    with table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([["text", "images", "aspect"], *names])
    try:
        rows = analysed_rows(world, table, [str(image)])
    except gr.Error as error:
        return Outcome(str(error.message))
    assert rows[0][3] == ""
    return Outcome(rows[1][3] or None)


def analysed_rows(world: World, table: Path, files: list[str]) -> list[list[str]]:
    """Return the rows of the file that the page offers, without its header."""
    page, output, *_ = world.model.demo.analyse_table(str(table), files, [])
    assert "<script" not in page
    with Path(output).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def demo_table(world: World, source: Path) -> Outcome:
    copy = world.output / source.name  # the page writes predictions.csv beside an upload
    copy.write_bytes(source.read_bytes())
    try:
        rows = analysed_rows(world, copy, [])
    except gr.Error as error:
        return Outcome(str(error.message))
    assert set(world.case.bad) <= {int(row[0]) for row in rows if row[3]}
    return Outcome(None, rows)


def processor_text(world: World, text: object) -> Outcome:
    return call(world.model.pipe.processor, text=text)


def pipeline_text(world: World, text: object) -> Outcome:
    return scored(call(world.model.pipe, world.model.post(text=text)))


def predict_text(world: World, text: object) -> Outcome:
    rows = [world.model.post(text=GOOD), world.model.post(text=text), world.model.post(text=GOOD)]
    return second(world, predict_rows(world, world.inputs, rows))


def explain_text(world: World, text: str) -> Outcome:
    return explain_post(world, "--text", text, *world.model.flags)


def demo_text(world: World, text: str) -> Outcome:
    return analysed(world, text, [], world.model.aspect)


def processor_aspect(world: World, aspect: object) -> Outcome:
    return call(world.model.pipe.processor, text=[GOOD], aspect=[aspect])


def pipeline_aspect(world: World, aspect: object) -> Outcome:
    return scored(call(world.model.pipe, {"text": GOOD, "aspect": aspect}))


def predict_aspect(world: World, aspect: object) -> Outcome:
    rows = [world.model.post(text=GOOD), {"text": GOOD, "aspect": aspect}, world.model.post(text=GOOD)]
    return second(world, predict_rows(world, world.inputs, rows))


def explain_aspect(world: World, aspect: str) -> Outcome:
    return explain_post(world, "--text", GOOD, "--aspect", aspect)


def demo_aspect(world: World, aspect: str) -> Outcome:
    return analysed(world, GOOD, [], aspect)


def load_folder(world: World, model: object) -> Outcome:
    return call(predicting.load_pipeline, str(model))


def predict_model(world: World, model: object) -> Outcome:
    table = world.output / "table.csv"
    tiny.picture(0).save(world.output / "a.png")
    table.write_text(f"text,aspect,image\n{GOOD},{world.model.aspect or ''},a.png\n")
    outcome = predict_file(world, table, model=model)
    if outcome.error is None:
        predicted, bad = outcome.result
        return Outcome(bad[1]["error"] if bad else None)
    return outcome


def explain_model(world: World, model: object) -> Outcome:
    return explain_post(world, "--text", GOOD, *world.model.flags, model=model)
