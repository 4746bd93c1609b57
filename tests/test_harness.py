"""Short versions of the benchmarks that kill commands, fill the disk and load the demo."""

import json
import os
import subprocess
import sys

import pytest
from tiny import ROOT

pytestmark = pytest.mark.slow
NEW_MOUNTS = ["unshare", "--map-root-user", "--mount"]


def run(tmp_path, *command: str) -> dict:
    """Run a benchmark, which must find nothing wrong, and return its figures."""
    output = tmp_path / "figures.json"
    ended = subprocess.run([*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return json.loads(output.read_text())["figures"]


def test_killed_commands_end_as_if_they_were_not(tmp_path):
    kills = ["--training", "4", "--prediction", "4", "--export", "3"]
    figures = run(tmp_path, sys.executable, "benchmarks/soak.py", *kills)
    assert all(row["kills_in_all"] >= 3 for row in figures.values())


def test_commands_continue_after_a_full_disk(tmp_path):
    if os.name != "posix" or subprocess.run([*NEW_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]).returncode:
        pytest.skip("needs unshare, and the right to mount a file system in a new name space")
    figures = run(tmp_path, *NEW_MOUNTS, sys.executable, "benchmarks/full_disk.py", "--every", "6")
    assert figures["failed_as_they_should_and_then_ended_equal"] >= 5


def test_users_of_the_demo_get_their_own_answers(tmp_path):
    # In ten seconds, 20 sessions are over several times, and the 200 that the demo keeps otherwise are not yet full.
    short = ["--users", "5", "--seconds", "10", "--keep", "8", "--sessions", "20"]
    figures = run(tmp_path, sys.executable, "benchmarks/demo_load.py", *short)
    assert figures["answers"]["good post: right"] >= 5
