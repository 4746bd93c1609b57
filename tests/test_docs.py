"""README, docs and CONTRIBUTING tell the truth: tables are generated, links lead somewhere, commands and code run."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import tiny
from tiny import ROOT

from mmsent import docs_tables
from mmsent.training import benchmark
from mmsent.training.recipes import parse_arguments

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def between(page: str, name: str) -> str:
    """Return what stands between the two marks of a generated table."""
    return re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", TEXTS[page], re.DOTALL)[1].strip()


def blocks(language: str) -> list[str]:
    return [block for text in TEXTS.values() for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def commands(beginning: str) -> list[list[str]]:
    """Return the words of every command in the pages that begins so."""
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(beginning)]


def test_the_table_of_results_is_generated():
    assert between("results.md", "results") == benchmark.table().strip()
    assert between("results.md", "calibration") == benchmark.calibration_table().strip()


def test_the_table_of_architectures_is_generated():
    assert between("README.md", "architectures") == docs_tables.architectures().strip()


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


@every_page
def test_links_lead_somewhere(path):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[path.name]) if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_commands_of_training_have_arguments_that_exist():
    found = commands("accelerate launch train.py")
    assert len(found) >= 3
    for command in found:
        parse_arguments([str(ROOT / word) if word.startswith("configs/") else word for word in command[3:]], "")


@pytest.mark.slow
def test_code_and_commands_run(tmp_path):
    """Run the Python blocks and the commands of the pages as printed, in a new folder with a trained model."""

    def call(*words: str) -> None:
        subprocess.run(words, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": ""})

    call(sys.executable, str(ROOT / "train.py"), "--num_train_epochs", "1", "--report_to", "none")
    tiny.picture(0).save(tmp_path / "picture.jpg")
    (tmp_path / "posts.csv").write_text("text,image\nGood.,picture.jpg\n")
    assert len(blocks("python")) >= 5
    for block in blocks("python"):
        call(sys.executable, "-c", block)
    beginnings = ("mmsent predict", "mmsent explain", "mmsent evaluate", "mmsent compare")
    for command in [command for beginning in beginnings for command in commands(beginning)]:
        if "--output" in command:
            (tmp_path / command[command.index("--output") + 1]).unlink(missing_ok=True)
        call(sys.executable, "-m", *command)
    (push,) = commands("python push_to_hub.py model")
    call(sys.executable, str(ROOT / "push_to_hub.py"), *push[2:])
    for name in (
        "explanation.html",
        "predictions.jsonl",
        "to_label.csv",
        "evaluation/evaluation.json",
        "upload/README.md",
        "upload/model.safetensors",
    ):
        assert (tmp_path / name).stat().st_size > 100, name
