"""Test the Space that is published for a model: its files, its wheel, and the models that it refuses."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from huggingface_hub import SpaceCard
from local_hub import SECRET, Hub, environment
from tiny import ROOT

from mmsent.hub.staging import stage_space
from mmsent.hub.wheel import write_wheel


def test_the_files_of_a_space(tmp_path):
    stage_space("me/model", tmp_path, "me/demo")
    data = SpaceCard.load(tmp_path / "README.md").data
    assert data.models == ["me/model"]
    assert (data.sdk, data.sdk_version) == ("gradio", version("gradio"))
    requirements = (tmp_path / "requirements.txt").read_text().split("\n")
    assert {"captum>=0.9", "gradio>=6.31", "torch>=2.9"} <= set(requirements)
    assert not [line for line in requirements if line.startswith(("mmsent", "pytest", "ftfy"))]
    (wheel,) = tmp_path.glob("*.whl")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"README.md", "LICENSE", "app.py", "requirements.txt", wheel.name}
    with ZipFile(wheel) as archive:
        files = archive.namelist()
    assert {"mmsent/demo/app.py", "mmsent/modeling/comn.py", "mmsent/explanation/templates/page.html"} <= set(files)
    assert not [name for name in files if "__pycache__" in name]


@pytest.mark.slow
def test_pip_installs_the_wheel_of_a_space(tmp_path):
    wheel = write_wheel(tmp_path)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (tmp_path / "again").mkdir()
    code = "import mmsent.hub.wheel as w, pathlib; print(w.__file__, w.write_wheel(pathlib.Path('again')))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    source, again = result.stdout.split()
    assert Path(source).is_relative_to(tmp_path / "site")
    record = f"mmsent-{version('mmsent')}.dist-info/RECORD"
    assert ZipFile(wheel).read(record) == ZipFile(tmp_path / again).read(record)


def test_a_space_of_a_folder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="runs does not have the form user/name"):
        stage_space("runs", tmp_path / "space", "me/demo")
    (tmp_path / "runs" / "comn").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="runs/comn is a local folder: push it as a model"):
        stage_space("runs/comn", tmp_path / "space", "me/demo")
    assert not (tmp_path / "space").exists()


@pytest.mark.slow
def test_a_space_of_a_missing_model(tmp_path):
    with Hub() as hub:
        command = [sys.executable, str(ROOT / "push_to_hub.py"), "space", "me/nowhere", "--repo_id", "tester/demo"]
        env = environment(hub, tmp_path / "home", HF_TOKEN=SECRET)
        result = subprocess.run(command, env=env, capture_output=True, text=True)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        assert "me/nowhere" in result.stderr
        assert not hub.repositories
