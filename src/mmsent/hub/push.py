"""Publish a trained model, an exported corpus or the demo of a published model on the Hugging Face Hub.

    python push_to_hub.py model runs/sample_posts-comn --repo_id me/my-model [--private] [--dry_run FOLDER]
    python push_to_hub.py corpus mvsa_single_parquet --repo_id me/my-corpus [--private] [--dry_run FOLDER]
    python push_to_hub.py space me/my-model --repo_id me/my-demo [--private] [--dry_run FOLDER]

`--dry_run` writes what would be uploaded into a folder, and stops. The token is that of `hf auth login` or `HF_TOKEN`;
it is neither printed nor stored.
"""

import argparse
import json
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from datasets import load_dataset
from huggingface_hub import HfApi, RepoCard, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoModelForSequenceClassification, AutoProcessor
from transformers.utils import SAFE_WEIGHTS_NAME

from mmsent.dataset_scripts import CORPORA, corpus_class
from mmsent.hub.cards import eval_result_entries, make_card
from mmsent.hub.export import CARD, STATE
from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.training.run_folder import RUN, SETTINGS

MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", SAFE_WEIGHTS_NAME)
NOT_UPLOADED = {RUN, SETTINGS}
EXAMPLES = 3
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
ROOT = Path(__file__).parent
# What demo/app.py imports, laid out as here.
SPACE_FILES = ("demo", "modeling", "dataset_scripts", "explanation_page.py", "post_files.py", "predict.py", "LICENSE")


def stage_model(run_folder: Path, target: Path, repo_id: str) -> None:
    """Write all that a model's repository holds: weights, processor, code, card, scores, examples.

    Raises:
        ValueError: the folder is not that of a finished run.
    """
    if not (run_folder / RUN).is_file() or not (run_folder / SAFE_WEIGHTS_NAME).is_file():
        raise ValueError(f"{run_folder} is no finished run of train.py: it lacks {RUN} or {SAFE_WEIGHTS_NAME}.")
    run = json.loads((run_folder / RUN).read_text(encoding="utf-8"))
    settings = json.loads((run_folder / SETTINGS).read_text(encoding="utf-8"))
    run["command"] = public_command(run["command"])
    for pattern in MODEL_FILES:
        for path in run_folder.glob(pattern):
            if path.name not in NOT_UPLOADED:
                shutil.copy2(path, target / path.name)
    model = AutoModelForSequenceClassification.from_pretrained(run_folder)
    processor = AutoProcessor.from_pretrained(run_folder)
    examples = widget_examples(model, processor, target)
    card = make_card(repo_id, run, settings, model.config, examples)
    (target / "README.md").write_text(card, encoding="utf-8")
    entries = eval_result_entries_to_yaml(eval_result_entries(run, settings))
    scores = target / ".eval_results" / f"{Path(settings['dataset']).name}.yaml"
    scores.parent.mkdir()
    scores.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")


def public_command(command: str) -> str:
    """A command line without secrets, and without the folders of the machine that ran it."""
    words = shlex.split(command)
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and "token" in name:
            if equals:
                words[index] = f"{name}=..."
            elif index + 1 < len(words):
                words[index + 1] = "..."
        elif Path(value if equals else word).is_absolute():
            words[index] = f"{name}={Path(value).name}" if equals else Path(word).name
    return shlex.join(words)


@torch.no_grad()
def widget_examples(model: MultimodalPreTrainedModel, processor: MultimodalProcessor, target: Path) -> list[dict]:
    """Posts of the embedded corpus, which may be passed on, with what the model says of them; writes the pictures."""
    posts = load_dataset("sample_posts", split="test")
    (target / "widget").mkdir()
    examples = []
    for number in range(EXAMPLES):
        post = posts[number * len(posts) // EXAMPLES]
        picture = f"widget/{number}.png"
        post["images"][0].save(target / picture)
        scores = model(**processor(text=post["text"], images=post["images"], aspect=post["aspect"])).logits.softmax(-1)
        output = [
            {"label": model.config.id2label[index], "score": round(score, 4)}
            for index, score in enumerate(scores[0].tolist())
        ]
        output.sort(key=lambda entry: -entry["score"])
        aspect = {"aspect": post["aspect"]} if model.reads_aspect else {}
        examples.append({"text": post["text"], "src": picture, **aspect, "output": output})
    return examples


def stage_corpus(exported: Path, target: Path, private: bool) -> None:
    """Copy an exported corpus, if its licence lets it be passed on.

    Raises:
        ValueError: no finished export, or its posts may not be passed on.
    """
    card = exported / CARD
    if not card.is_file() or (exported / STATE).exists():
        raise ValueError(
            f"{exported} is no finished export: python -m dataset_scripts export NAME --output {exported}"
        )
    named = re.search(r"^## This export: `(\w+)`", card.read_text(encoding="utf-8"), re.MULTILINE)
    if named is None or named[1] not in CORPORA:
        raise ValueError(f"{card} does not say which corpus this is: export it anew.")
    verdict, reason = corpus_class(named[1]).REDISTRIBUTION
    if verdict == "forbidden":
        raise ValueError(f"{named[1]} must not be uploaded: {reason}.")
    if verdict == "unclear" and not private:
        raise ValueError(f"{named[1]} is uploaded with --private alone, for your own use: {reason}.")
    shutil.copytree(exported, target, dirs_exist_ok=True)


def stage_space(model_id: str, target: Path, repo_id: str) -> None:
    """Write a Space that shows a published model: the demo, the code that it runs, what that needs.

    The Space has the architectures' code with it, so it runs none of the model's repository.

    Raises:
        ValueError: a model that is not named as on the Hub, or a folder.
    """
    if REPO_ID.fullmatch(model_id) is None:
        raise ValueError(f"A Space shows a model that is on the Hub: {model_id} is not of the form user/name.")
    if Path(model_id).exists():
        raise ValueError(f"{model_id} is a folder here: push it as a model, and name it as it is called on the Hub.")
    for name in SPACE_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, target / name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["explain"]
    (target / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    about = {
        "title": repo_id.rpartition("/")[2],
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "app_file": "demo/app.py",
        "models": [model_id],
        "license": "apache-2.0",
        "short_description": "Sentiment of a text with pictures",
    }
    card = f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n# {about['title']}\n\nA demo of `{model_id}`.\n"
    RepoCard(card).save(target / "README.md")


def upload(folder: Path, repo_id: str, repo_type: str, private: bool) -> str:
    """Make the repository if there is none, and put the folder there in one commit; returns its address."""
    api = HfApi()
    sdk = "gradio" if repo_type == "space" else None
    url = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
    api.upload_folder(repo_id=repo_id, repo_type=repo_type, folder_path=folder, commit_message=f"Upload {repo_type}")
    return str(url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["model", "corpus", "space"])
    parser.add_argument(
        "source",
        help="a run of train.py; what dataset_scripts export wrote; the Hub id of the model that a Space shows",
    )
    parser.add_argument("--repo_id", required=True, help="user or organisation, slash, name")
    parser.add_argument("--private", action="store_true", help="only you can see it")
    parser.add_argument("--dry_run", type=Path, metavar="FOLDER", help="write what would be uploaded here, and stop")
    args = parser.parse_args()
    if REPO_ID.fullmatch(args.repo_id) is None:
        parser.error(f"--repo_id {args.repo_id}: it has the form user/name")
    if args.dry_run is not None and args.dry_run.exists() and any(args.dry_run.iterdir()):
        parser.error(f"--dry_run {args.dry_run}: the folder is not empty")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.dry_run or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if args.kind == "model":
                stage_model(Path(args.source), folder, args.repo_id)
            elif args.kind == "corpus":
                stage_corpus(Path(args.source), folder, args.private)
            else:
                stage_space(args.source, folder, args.repo_id)
            if args.kind == "space" and args.dry_run is None:
                HfApi().model_info(args.source)  # says so if there is no such model
            if args.dry_run is None:
                print(upload(folder, args.repo_id, {"corpus": "dataset"}.get(args.kind, args.kind), args.private))
        except (ValueError, HfHubHTTPError) as error:
            sys.exit(str(error))
    if args.dry_run is not None:
        print(f"{folder} holds what would be uploaded to {args.repo_id}")


if __name__ == "__main__":
    main()
