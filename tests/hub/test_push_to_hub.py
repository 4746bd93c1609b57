"""Test what is published: cards of all architectures, the files of each repository, and that others can load them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import tiny
import torch
import yaml
from datasets import load_dataset
from huggingface_hub import ModelCard
from huggingface_hub.utils import httpx
from local_hub import SECRET, Hub, environment, push
from standins import WRITERS
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mmsent.hub import push as push_to_hub
from mmsent.hub.export import export
from mmsent.hub.staging import public_command, stage_corpus, stage_model, widget_examples
from mmsent.inference.predict import load_pipeline

LOADER = """
import json, sys
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline

model = AutoModelForSequenceClassification.from_pretrained("tester/model", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("tester/model", trust_remote_code=True)
AutoModel.from_pretrained("tester/model", trust_remote_code=True)
batch = processor(text=["A good day.", "so plain"])
classify = pipeline("image-text-sentiment", model="tester/model", trust_remote_code=True)
posts = [{"text": "A good day."}, {"text": "so plain", "images": [sys.argv[1]]}]  # it was trained with texts only
print(json.dumps([model(**batch).logits.tolist(), classify(posts)]))
"""


def elsewhere(hub: Hub, home: Path, code: str, *argv: str) -> str:
    """Run code in a process that cannot import this project, and return the last line that it prints."""
    home.mkdir(exist_ok=True)
    hidden = "import sys; sys.modules['mmsent'] = None\n"  # The project is installed here.
    command = [sys.executable, "-c", hidden + code, *argv]
    variables = environment(hub, home, PYTHONPATH="")
    result = subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_a_dry_run(trained, tmp_path, monkeypatch, capsys):
    dry = tmp_path / "dry"
    argv = ["model", str(trained), "--repo_id", "me/model", "--dry_run", str(dry)]
    monkeypatch.setattr(sys, "argv", ["push_to_hub.py", *argv])
    push_to_hub.main()
    assert "holds what would be uploaded to me/model" in capsys.readouterr().out
    files = {str(path.relative_to(dry)): path.read_bytes() for path in dry.rglob("*") if path.is_file()}
    assert {"README.md", "model.safetensors", "config.json", "comn.py", "widget/0.png"} <= set(files)
    assert not [name for name in files if name.endswith((".pt", ".bin", ".pkl")) or "checkpoint" in name]
    assert not {"run.json", "settings.json"} & set(files)
    assert not [name for name, content in files.items() if str(trained.parent).encode() in content]
    (entry, *_) = yaml.safe_load(files[".eval_results/sample_posts.yaml"])
    assert entry["dataset"] == {"id": "sample_posts", "task_id": "default_accuracy"}
    for example in ModelCard(files["README.md"].decode()).data.widget:
        assert example["src"] in files
        assert sum(entry["score"] for entry in example["output"]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(SystemExit):
        push_to_hub.main()
    assert "the folder is not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pushed_model_loads_by_its_id_elsewhere(trained, tmp_path):
    picture, dry = tmp_path / "picture.png", tmp_path / "dry"
    tiny.picture(0).save(picture)
    with Hub() as hub:
        argv = ["model", str(trained), "--repo_id", "tester/model"]
        push(hub, tmp_path / "home", *argv, "--dry_run", str(dry))
        assert not hub.requests
        printed = push(hub, tmp_path / "home", *argv, "--private")
        repository = hub.repositories["model", "tester/model"]
        assert repository.private
        assert f"Bearer {SECRET}" in {value for *_, headers in hub.requests for value in headers.values()}
        remote_logits, predicted = json.loads(elsewhere(hub, tmp_path / "other", LOADER, str(picture)))
    uploaded = {name: content for name, content in repository.files.items() if name != ".gitattributes"}
    assert uploaded == {str(path.relative_to(dry)): path.read_bytes() for path in dry.rglob("*") if path.is_file()}
    assert SECRET not in printed
    assert not [name for name, content in uploaded.items() if SECRET.encode() in content]
    model = AutoModelForSequenceClassification.from_pretrained(trained)
    processor = AutoProcessor.from_pretrained(trained)
    batch = processor(text=["A good day.", "so plain"])
    logits = model(**batch).logits
    torch.testing.assert_close(torch.tensor(remote_logits), logits, rtol=0, atol=1e-5)
    calibrated = (logits / model.config.score_temperature).softmax(-1)
    for post, scores in zip(predicted, calibrated.tolist(), strict=True):
        assert [entry["score"] for entry in post] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
        assert post[0]["label"] == model.config.id2label[scores.index(max(scores))]


@pytest.mark.parametrize(
    ("kind", "repo_id", "message"),
    [
        ("model", "me/x", "is not a finished run of train.py: run.json or"),
        ("corpus", "me/x", "is not a finished export"),
        ("model", "name", "--repo_id name does not have the form user/name"),
        ("model", "me/..", "--repo_id me/.. does not have the form user/name"),
        ("model", "me/a--b", "--repo_id me/a--b does not have the form user/name"),
    ],
)
def test_what_cannot_be_pushed(kind, repo_id, message, tmp_path, monkeypatch, capsys):
    argv = [kind, str(tmp_path / "missing"), "--repo_id", repo_id, "--dry_run", str(tmp_path / "dry")]
    monkeypatch.setattr(sys, "argv", ["mmsent push", *argv])
    with pytest.raises(SystemExit) as stop:
        push_to_hub.main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_onto_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "dry").write_text("mine")
    monkeypatch.setattr(
        sys, "argv", ["mmsent push", "model", "x", "--repo_id", "me/x", "--dry_run", f"{tmp_path}/dry"]
    )
    with pytest.raises(SystemExit, match="2"):
        push_to_hub.main()
    assert "is a file: name a new or empty folder" in capsys.readouterr().err
    assert (tmp_path / "dry").read_text() == "mine"


def test_no_network(trained, monkeypatch, capsys):
    monkeypatch.setattr(push_to_hub.HfApi, "create_repo", Mock(side_effect=httpx.ConnectError("no route to host")))
    monkeypatch.setattr(sys, "argv", ["mmsent push", "model", str(trained), "--repo_id", "me/x"])
    with pytest.raises(SystemExit, match="2"):
        push_to_hub.main()
    assert capsys.readouterr().err.splitlines()[-1] == "mmsent push: error: no route to host"


def test_what_is_pushed_can_be_read_by_others(trained, tmp_path):
    (trained / "model.safetensors").chmod(0o600)
    stage_model(trained, tmp_path, "me/x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def test_files_about_the_posts_are_not_uploaded(trained, tmp_path):
    run, target = tmp_path / "run", tmp_path / "upload"
    shutil.copytree(trained, run)
    target.mkdir()
    for name in ("splits.json", "search.json", "report.html", "search.db"):
        (run / name).write_text("{}")
    stage_model(run, target, "me/name")
    names = {path.name for path in target.iterdir()}
    assert "config.json" in names
    assert not {"splits.json", "search.json", "report.html", "search.db", "run.json", "settings.json"} & names


def test_a_corpus_is_not_copied_into_itself(tmp_path):
    (tmp_path / "README.md").write_text("## This export: `sample_posts`")
    with pytest.raises(ValueError, match="would be copied into itself"):
        stage_corpus(tmp_path, tmp_path / "copy", private=True)


@pytest.mark.parametrize(
    ("name", "private", "message"),
    [
        ("multi_zol", True, "multi_zol must not be uploaded: the README of its release forbids"),
        ("twitter2015", False, "twitter2015 can be uploaded only with --private"),
    ],
)
def test_the_terms_of_a_corpus_are_kept(tmp_path, name, private, message):
    exported, staged = tmp_path / "parquet", tmp_path / "staged"
    export(load_dataset(name, data_dir=str(WRITERS[name](tmp_path / name))), name, "official", exported)
    with pytest.raises(ValueError, match=message):
        stage_corpus(exported, staged, private)
    assert not staged.exists()
    if not private:
        stage_corpus(exported, staged, private=True)
        assert {"README.md"} < {path.name for path in staged.iterdir()}
        assert list(staged.rglob("*.parquet"))


@pytest.mark.slow
def test_a_pushed_corpus_loads_by_its_id(tmp_path):
    corpus = load_dataset("sample_posts")
    corpus = type(corpus)({split: posts.select(range(6)) for split, posts in corpus.items()})
    export(corpus, "sample_posts", "default", tmp_path / "parquet")
    code = "from datasets import load_dataset as load; d = load('tester/posts')['test']; print(d[0]['id'], d.num_rows)"
    with Hub() as hub:
        push(hub, tmp_path / "home", "corpus", str(tmp_path / "parquet"), "--repo_id", "tester/posts")
        assert elsewhere(hub, tmp_path / "other", code).split() == [corpus["test"][0]["id"], "6"]


def test_tokens_and_folders_are_removed_from_a_command():
    command = (
        f"train.py --data_dir /home/me/MVSA --hub_token {SECRET} --hub_token={SECRET} --output_dir=/tmp/x --seed 1"
    )
    assert (
        public_command(command) == "train.py --data_dir MVSA --hub_token ... --hub_token=... --output_dir=x --seed 1"
    )


def test_a_relative_folder_that_is_gone_is_not_published(trained, tmp_path):
    """The path of such a folder looks like an id of the Hub."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    changes = {
        "run.json": {"dataset_is_folder": True, "command": "train.py --dataset private/sample_posts --output_dir a/b"},
        "settings.json": {"dataset": "private/sample_posts"},
    }
    for name, entries in changes.items():
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | entries))
    (tmp_path / "staged").mkdir()
    stage_model(run, tmp_path / "staged", "me/x")
    card = (tmp_path / "staged/README.md").read_text()
    assert "private" not in card
    assert "train.py --dataset sample_posts --output_dir b\n" in card
    data = ModelCard(card).data
    assert (data.datasets, data.license) == (None, "other")  # whatever the name of the folder
    assert "private" not in (tmp_path / "staged/.eval_results/sample_posts.yaml").read_text()
    assert json.loads((trained / "run.json").read_text())["dataset_is_folder"] is False


@pytest.mark.parametrize(("name", "aspects"), [("comn", None), ("mimn", ["coffee"]), ("mimn", None)])
def test_widget_examples_have_an_aspect_if_the_model_reads_one(name, aspects, backbones, tmp_path, caplog):
    for part in tiny.build(name, "own", backbones, aspects=aspects):
        part.save_pretrained(tmp_path / "model")
    examples = widget_examples(load_pipeline(str(tmp_path / "model")), tmp_path)
    assert [("aspect" in example) for example in examples].count(name == "mimn") >= 1
    assert all(example.get("aspect", "none") for example in examples)
    assert aspects is None or all("aspect" in example for example in examples)
    assert "does not read an aspect" not in caplog.text
