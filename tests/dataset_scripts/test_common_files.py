"""Locks of files and folders that several processes could write to, and writing that a kill or a full disk ends."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mmsent.dataset_scripts import common_files
from mmsent.dataset_scripts.common_files import DiskFullError, atomic_write, locked, name_full_disk, remove_leftovers

HOLD = """
import sys
from pathlib import Path
from mmsent.dataset_scripts.common_files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("folder", "kill"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("folder", "normal"), ("file", "kill"), ("file", "normal")]
        ),
    ],
)
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


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), atomic_write(tmp_path / "out") as folder:  # noqa: PT012
        folder.mkdir()
        (folder / "half").touch()
        raise KeyError
    assert not list(tmp_path.iterdir())
    with atomic_write(tmp_path / "out") as folder:
        folder.mkdir()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_only_leftovers_of_the_same_file_are_removed(tmp_path):
    others = ["tmp-0123abcd-my-out", "tmp-0123abcd-out.csv", "tmp-notes-out"]
    for name in ["tmp-0123abcd-out", *others]:
        (tmp_path / name).touch()
    (tmp_path / "tmp-ffffffff-out").mkdir()
    remove_leftovers(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("8192 requested and 4096 written"),  # NumPy's, which has no number
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
@pytest.mark.parametrize("free", [0, 10**9])
def test_a_full_disk_is_named(tmp_path, monkeypatch, error, free):
    monkeypatch.setattr(common_files.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    path = tmp_path / "folder" / "out"
    if free and "requested" in str(error):  # The disk has space: this is another error.
        with pytest.raises(OSError, match="requested"), name_full_disk(path):
            raise error
        return
    message = f"^the disk is full: {path} could not be written. Free some space"
    with pytest.raises(DiskFullError, match=message), name_full_disk(tmp_path), name_full_disk(path):
        raise error


def test_other_errors_are_not_those_of_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(common_files.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    for error in (FileNotFoundError(errno.ENOENT, "No such file"), ValueError("no")):
        with pytest.raises(type(error)) as raised, name_full_disk(tmp_path):
            raise error
        assert raised.value is error
