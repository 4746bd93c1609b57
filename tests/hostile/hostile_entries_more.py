"""The entry points of corpora and commands."""

import json
import os
from pathlib import Path
from unittest.mock import patch

from datasets.exceptions import DatasetsError
from hostile_case import Outcome, call, command
from hostile_entries import GOOD, World, explain_post
from standins import write_msed, write_posts

import train as training
from mmsent.dataset_scripts import load_corpus
from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.demo import app
from mmsent.evaluation import audit as auditing
from mmsent.hub import export as exporting
from mmsent.hub import push as pushing
from mmsent.inference import predict as predicting
from mmsent.modeling.common_word_vectors import read_word_vectors

BRIEF = ["--max_steps", "1", "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
BRIEF += ["--report_to", "none", "--disable_tqdm", "true"]


def load_release(world: World, release: tuple[str, Path]) -> Outcome:
    name, folder = release
    try:
        return call(load_corpus, name, data_dir=folder, cache_dir=world.output / "cache")
    except DatasetsError as error:  # hides the error of the corpus
        return Outcome(str(error.__cause__))


def audit_release(world: World, release: tuple[str, Path], *argv: object) -> Outcome:
    name, folder = release
    return command(auditing.main, "mmsent audit", name, "--data_dir", folder, *argv)


def export_release(world: World, release: tuple[str, Path], *argv: object) -> Outcome:
    name, folder = release
    flags = [name, "--data_dir", folder, "--output", world.output / "export", *argv]
    return command(exporting.main, "mmsent export", *flags)


def release_with(world: World) -> tuple[str, Path]:
    """Return a release in which one image is that of the case."""
    folder = write_msed(world.output / "msed")
    (folder / "test/images/1.jpg").unlink()
    made = world.case.make(folder / "test/images")
    if os.path.lexists(made):
        made.rename(made.with_name("1.jpg"))
    return "msed", folder


def audit_image(world: World, image: Path) -> Outcome:
    report = world.output / "report.json"
    outcome = audit_release(world, release_with(world), "--json", report)
    if outcome.error is not None:
        return named(world, outcome)
    images = json.loads(report.read_text())["images"]
    assert all(not images[split]["examples"] for split in ("train", "validation"))
    return named(world, Outcome(next(iter(images["test"]["examples"]), None)))


def export_image(world: World, image: Path) -> Outcome:
    return named(world, export_release(world, release_with(world)))


def named(world: World, outcome: Outcome) -> Outcome:
    """Return an outcome in which the image has the name of the case."""
    return outcome._replace(error=outcome.error and outcome.error.replace("1.jpg", world.case.name.partition(" ")[0]))


def main_of_train() -> None:
    with exit_with_one_line("train.py"):
        training.main()


def train(world: World, argv: list[str]) -> Outcome:
    return command(main_of_train, "train.py", "--output_dir", world.output / "run", *BRIEF, *argv)


def read_words(world: World, path: Path) -> Outcome:
    outcome = call(read_word_vectors, path, world.model.pipe.processor.tokenizer, 3)
    if outcome.error is None:
        assert outcome.result[0].isfinite().all()
    return outcome


def predict_output(world: World, prepare) -> Outcome:
    table = world.output / "table.csv"
    table.write_text(f"text,aspect\n{GOOD},{world.model.aspect or ''}\n")
    path = prepare(world.output / "x.jsonl")
    return command(
        predicting.main, "mmsent predict", "--model", world.model.folder, "--input", table, "--output", path
    )


def explain_output(world: World, prepare) -> Outcome:
    return explain_post(world, "--text", GOOD, *world.model.flags, "--output", prepare(world.output / "x.html"))


def audit_output(world: World, prepare) -> Outcome:
    return audit_release(
        world, ("msed", write_msed(world.output / "msed")), "--json", prepare(world.output / "x.json")
    )


def export_output(world: World, prepare) -> Outcome:
    return export_release(world, ("msed", write_msed(world.output / "msed")), "--output", prepare(world.output / "x"))


def push_output(world: World, prepare) -> Outcome:
    flags = ["space", "me/model", "--repo_id", "me/demo", "--dry_run", prepare(world.output / "x")]
    return command(pushing.main, "mmsent push", *flags)


def push_id(world: World, name: str) -> Outcome:
    return command(pushing.main, "mmsent push", "model", world.model.folder, "--repo_id", name)


def push_model(world: World, model: object) -> Outcome:
    """A folder that claims to be a finished run: its run.json and settings.json are empty."""
    flags = ["model", model, "--repo_id", "me/x", "--dry_run", world.output / "x"]
    outcome = command(pushing.main, "mmsent push", *flags)
    # The report is read after the model has been loaded and has scored the examples.
    return Outcome(None) if outcome.error and "run.json or settings.json" in outcome.error else outcome


def demo_port(world: World, port: str) -> Outcome:
    return command(app.main, "mmsent demo", "--model", world.model.folder, "--port", port)


def train_from(world: World, model: object) -> Outcome:
    flags = ["--init_from", str(model), "--architecture", world.model.pipe.model.config.model_type]
    return train(world, [*own_posts(world), *flags])


def own_posts(world: World) -> list[str]:
    """Return arguments that train on a small table."""
    return ["--dataset", str(write_posts(world.output / "own", 12) / "posts.csv")]


def train_output(world: World, prepare) -> Outcome:
    return train(world, [*own_posts(world), "--output_dir", str(prepare(world.output / "x"))])


def train_on_images(world: World, images: list[Path], *argv: str) -> Outcome:
    """Train on a table of posts of each label, and on a post for each of these images, which are in `world.inputs`."""
    rows = [
        {"text": f"day {number} {split}", "image": None, "label": label, "split": split}
        for split in ("train", "validation", "test")
        for number, label in enumerate(("good", "bad"))
    ]
    rows += [
        {"text": f"image {number}", "image": image.name, "label": "good", "split": "train"}
        for number, image in enumerate(images)
    ]
    table = world.output / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--image_dir", str(world.inputs), "--image_columns", "image", "--split_column", "split"]
    return train(world, ["--dataset", str(table), *flags, *argv])


def train_image(world: World, image: Path) -> Outcome:
    """An image of a corpus that is loaded and screened. The training itself is left out."""
    with patch.object(training, "search", side_effect=ValueError("the posts are loaded")):
        outcome = train_on_images(world, [image])
    return Outcome(None) if outcome.error == "the posts are loaded" else outcome
