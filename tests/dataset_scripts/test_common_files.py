"""Locks of files and folders that several processes could write to."""

import os
import subprocess
import sys

import pytest

from mmsent.dataset_scripts.common_files import locked

HOLD = """
import sys
from pathlib import Path
from mmsent.dataset_scripts.common_files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("end", ["normal", "kill"])
def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path, kind, end):
    path = tmp_path / "output"
    if kind == "folder":
        path.mkdir()
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=f"^process {holder.pid} .*writes to {path}"), locked(path):
            pass
        holder.kill() if end == "kill" else holder.communicate()
    with locked(path):
        assert f"process {os.getpid()} " in next(tmp_path.rglob(".output.lock")).read_text()
    assert not list(tmp_path.rglob(".output.lock"))


def test_a_link_to_a_folder_has_the_same_lock(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locked(tmp_path / "folder"), pytest.raises(ValueError, match="writes to"), locked(tmp_path / "link"):
        pass
