"""The cache of features when its process is killed, and with two processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT

# Kill the process while it writes its fourth shard, of which a half is then on the disk.
KILLED = """
import os
from pathlib import Path
import train
from mmsent.training import feature_cache
save, before = feature_cache.np.save, []
def half(path, shard):
    if len(before) == 3:
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), 9)
    before.append(path)
    save(path, shard)
feature_cache.POSTS_PER_SHARD = 32
if os.environ["KILL"] == "1":
    feature_cache.np.save = half
train.main()
"""
BRIEF = ["--cache_features", "--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true"]


def shards(folder: Path) -> dict[str, int]:
    """Return the time of every file of the cache."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("0*.npy"))}


@pytest.mark.slow
def test_a_killed_run_resumes_after_its_last_shard(tmp_path):
    argv = [*BRIEF, "--output_dir", str(tmp_path / "run"), "--features_dir", str(tmp_path / "cache")]
    argv += ["--model_kwargs", "freeze_image=true", "--per_device_eval_batch_size", "16"]
    command, environment = [sys.executable, "-c", KILLED, *argv], os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, cwd=ROOT, env=environment | {"KILL": "1"})
    assert killed.returncode == -signal.SIGKILL
    before = shards(tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("tmp-*"))) == 1
    subprocess.run(command, cwd=ROOT, env=environment | {"KILL": "0"}, check=True)
    after = shards(tmp_path / "cache")
    assert 3 == len(before) < len(after) == 34 + 9 + 9
    assert {name: after[name] for name in before} == before
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".npy"] == []
    assert not list((tmp_path / "cache").rglob("tmp-*"))


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    for processes, extra in (("1", ()), ("2", ("--multi_gpu",))):
        command = [sys.executable, "-m", "accelerate.commands.launch", *extra, "--num_processes", processes]
        command += ["train.py", *BRIEF, "--model_kwargs", "freeze_text=true", "freeze_image=true"]
        command += ["--output_dir", str(tmp_path / f"run{processes}"), "--features_dir", str(tmp_path / processes)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "true"}, check=True)
    assert shards(tmp_path / "1").keys() == shards(tmp_path / "2").keys()
    assert len(shards(tmp_path / "1")) == 2 * (5 + 2 + 2)
    for name in shards(tmp_path / "1"):
        one, two = (np.load(tmp_path / folder / name) for folder in "12")
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
