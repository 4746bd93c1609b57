"""Write into a folder what a model, a corpus or a Space has in its repository."""

import json
import re
import shlex
import shutil
from collections.abc import Container
from importlib.metadata import version
from pathlib import Path

import yaml
from huggingface_hub import eval_result_entries_to_yaml
from transformers.utils import SAFE_WEIGHTS_NAME

from mmsent.dataset_scripts import CORPORA, corpus_class
from mmsent.inference.examples import example_posts
from mmsent.inference.predict import load_pipeline
from mmsent.modeling.common_loading import naming_damage
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline
from mmsent.training.posts import SPLIT_FILE
from mmsent.training.run_folder import RUN, SETTINGS
from mmsent.training.search import SUMMARY

from .cards import eval_result_entries, is_repo_id, make_card, make_space_card, public_name
from .export import CARD, STATE
from .wheel import license_text, requirements, write_wheel

MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", SAFE_WEIGHTS_NAME)
NOT_UPLOADED = {RUN, SETTINGS, SPLIT_FILE, SUMMARY}  # of the posts and of this machine
# The Hub installs requirements.txt before it copies any other file of a Space, so a wheel cannot be named there.
APP = """import shutil
import sys
import tempfile

sys.path.insert(0, tempfile.mkdtemp())
shutil.unpack_archive("{wheel}", sys.path[0], "zip")

from mmsent.demo.app import main

main()
"""


def stage_model(run_folder: Path, target: Path, repo_id: str) -> None:
    """Write the repository of a model: weights, processor, code, card, scores and examples.

    Raises:
        ValueError: If the folder is not that of a finished run.
    """
    if not (run_folder / RUN).is_file() or not (run_folder / SAFE_WEIGHTS_NAME).is_file():
        raise ValueError(f"{run_folder} is not a finished run of train.py: {RUN} or {SAFE_WEIGHTS_NAME} is missing.")
    pipe = load_pipeline(str(run_folder))  # a check of the files before they are copied
    for pattern in MODEL_FILES:
        for path in run_folder.glob(pattern):
            if path.name not in NOT_UPLOADED:
                shutil.copyfile(path, target / path.name)  # The mode of a copy follows the umask.
    examples = widget_examples(pipe, target)
    with naming_damage(f"{run_folder / RUN} or {SETTINGS} beside it"):
        run = json.loads((run_folder / RUN).read_text(encoding="utf-8"))
        settings = json.loads((run_folder / SETTINGS).read_text(encoding="utf-8"))
        folders = {settings["dataset"]} if run.get("dataset_is_folder") else set()
        run["command"] = public_command(run["command"], folders)
        if folders:  # now it cannot be taken for an id of the Hub or a corpus of mmsent
            settings["dataset"] = f"./{Path(settings['dataset']).name}"
        card = make_card(repo_id, run, settings, pipe.model.config, examples)
        entries = eval_result_entries_to_yaml(eval_result_entries(run, settings))
    (target / CARD).write_text(card, encoding="utf-8")
    scores = target / ".eval_results" / f"{Path(public_name(settings['dataset'])).name}.yaml"
    scores.parent.mkdir()
    scores.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")


def public_command(command: str, folders: Container[str] = ()) -> str:
    """Return a command line without tokens and without the folders of the machine that ran it.

    Args:
        folders: Words of the command that are folders although they look like ids of the Hub.
    """
    words = shlex.split(command)
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        option = name if equals else words[index - 1]
        value = value if equals else word
        if name.startswith("--") and "token" in name:
            if equals:
                words[index] = f"{name}=..."
            elif index + 1 < len(words):
                words[index + 1] = "..."
        elif value.startswith(("/", "~", ".")) or value in folders or option.endswith(("_dir", "word_vectors")):
            words[index] = f"{name}={Path(value).name}" if equals else Path(value).name
    return shlex.join(words)


def widget_examples(pipe: ImageTextSentimentPipeline, target: Path) -> list[dict]:
    """Return examples for the widget of a model, with the model's scores, and write their images."""
    examples = []
    for post in example_posts(target / "widget", pipe.model):
        output = [entry | {"score": round(entry["score"], 4)} for entry in pipe(post)]
        image = post.pop("image")
        examples.append(post | {"src": f"widget/{image.name}", "output": output})
    return examples


def stage_corpus(exported: Path, target: Path, private: bool) -> None:
    """Copy an exported corpus if it may be redistributed, or is only for private use.

    Raises:
        ValueError: If the folder is not a finished export, or the corpus must not be uploaded.
    """
    card = exported / CARD
    if not card.is_file() or (exported / STATE).exists():
        raise ValueError(f"{exported} is not a finished export: run mmsent export NAME --output {exported}")
    match = re.search(r"^## This export: `(\w+)`", card.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None or match[1] not in CORPORA:
        raise ValueError(f"{card} does not name a corpus of mmsent: export the corpus again.")
    redistribution, reason = corpus_class(match[1]).REDISTRIBUTION
    if redistribution == "forbidden":
        raise ValueError(f"{match[1]} must not be uploaded: {reason}.")
    if redistribution == "unclear" and not private:
        raise ValueError(f"{match[1]} can be uploaded only with --private, for your own use: {reason}.")
    if target.resolve().is_relative_to(exported.resolve()):
        raise ValueError(f"{target} is in {exported}, which would be copied into itself: choose another folder.")
    shutil.copytree(exported, target, dirs_exist_ok=True, copy_function=shutil.copyfile)


def stage_space(model_id: str, target: Path, repo_id: str) -> None:
    """Write a Space that shows a published model: a wheel of mmsent, the app that runs it, requirements and card.

    The wheel has the code of all architectures, so the Space runs no code of the model's repository.

    Raises:
        ValueError: If `model_id` does not have the form of a Hub id, or is a folder.
    """
    if not is_repo_id(model_id):
        raise ValueError(f"A Space shows a model that is on the Hub, and {model_id} does not have the form user/name.")
    if Path(model_id).exists():
        raise ValueError(f"{model_id} is a local folder: push it as a model first, and then give its id on the Hub.")
    wheel = write_wheel(target)
    (target / "app.py").write_text(APP.format(wheel=wheel.name), encoding="utf-8")
    (target / "requirements.txt").write_text("\n".join(requirements({"demo", "explain"})) + "\n", encoding="utf-8")
    (target / "LICENSE").write_text(license_text(), encoding="utf-8")
    (target / CARD).write_text(make_space_card(repo_id, model_id, version("gradio")), encoding="utf-8")
