"""The wheel is complete: installed where this checkout cannot be imported, it predicts and loads corpora."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import tiny
from tiny import ROOT

CHECK = """
import sys, mmsent
from datasets import load_dataset
from mmsent.evaluation.published import published_rows
from transformers import AutoModelForSequenceClassification, AutoProcessor
assert mmsent.__file__.startswith(sys.prefix), mmsent.__file__
model = AutoModelForSequenceClassification.from_pretrained("model")
processor = AutoProcessor.from_pretrained("model")
assert type(model).__module__.startswith("mmsent.modeling.")
post = load_dataset("sample_posts", split="test", streaming=True).take(1)
assert len(list(post)) == 1
assert mmsent.load_corpus("sample_posts", split="test").num_rows == 270
assert published_rows()
model.save_pretrained("again")
processor.save_pretrained("again")
"""
REMOTE = """
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained("again", trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
"""


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder, without any path of this checkout; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the wheel and install it into a new environment that has the dependencies and not this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    run(*build, str(ROOT), folder=folder)
    (wheel,) = folder.glob("mmsent-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    dependencies = Path(sysconfig.get_path("purelib"))
    # As a path, so that the files in there which make this checkout importable are not read.
    lines = [str(dependencies)]
    lines += ["import torchvision_cpu_shim"] if (dependencies / "torchvision_cpu_shim.py").exists() else []
    (site / "dependencies.pth").write_text("\n".join(lines) + "\n")
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel), folder=folder)
    return folder / "venv" / "bin"


@pytest.mark.slow
def test_an_installed_wheel_works(installed, backbones, tmp_path):
    for saved in tiny.build("comn", "own", backbones):
        saved.save_pretrained(tmp_path / "model")
    run(installed / "python", "-c", CHECK, folder=tmp_path)
    run(sys.executable, "-c", REMOTE, folder=tmp_path)
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    printed = run(
        *(installed / "mmsent", "predict", "--model", "model", "--input", "posts.csv", "--output", "out.jsonl"),
        folder=tmp_path,
    )
    assert "1 posts predicted" in printed
    assert "macro-F1" in run(installed / "mmsent", "audit", "sample_posts", folder=tmp_path)
    for command in ("predict", "explain", "benchmark", "audit", "export", "push", "demo"):
        assert f"usage: mmsent {command}" in run(installed / "mmsent", command, "--help", folder=tmp_path)
