"""The modes of the files of a run, which the user's umask decides."""

import os
import subprocess
import sys

import pytest
from small_runs import write_corpus
from tiny import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o027], ids=oct)
def test_all_files_of_a_run_follow_the_umask(tmp_path, backbones, umask):
    corpus, run = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    command = [sys.executable, "train.py", "--dataset", str(corpus), "--output_dir", str(run), "--lora_rank", "2"]
    command += ["--text_encoder", backbones["bert"], "--num_train_epochs", "1", "--report_to", "none"]
    subprocess.run([*command, "--disable_tqdm", "true"], cwd=ROOT, env=os.environ, umask=umask, check=True)
    files = [path for path in run.rglob("*") if path.is_file()]
    kinds = {str(path.relative_to(run)) for path in files}
    assert {"model.safetensors", "run.json", "adapter/adapter_model.safetensors"} <= kinds
    assert any(kind.startswith("checkpoint-") and kind.endswith(".safetensors") for kind in kinds)
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(0o666 & ~umask)}
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {oct(0o777 & ~umask)}
