"""Work that is shared among processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsent.dataset_scripts import common_processes
from mmsent.dataset_scripts.common_processes import process_map


def identify(item: int) -> tuple[int, int]:
    return item, os.getpid()


def fail(item: int) -> None:
    raise ValueError(f"item {item}")


@pytest.mark.parametrize("few", [1, 100])
def test_results_are_in_order(few, monkeypatch):
    monkeypatch.setattr(common_processes, "FEW", few)
    monkeypatch.setattr(common_processes, "AHEAD", 7)
    results = list(process_map(identify, (item for item in range(40)), 40, ""))
    assert [item for item, _ in results] == list(range(40))
    others = few == 1 and sys.platform == "linux"
    assert (os.getpid() not in {process for _, process in results}) == others
    with pytest.raises(ValueError, match="item 0"):
        list(process_map(fail, range(3), 3, ""))


def test_a_process_that_may_have_no_children_works_alone(monkeypatch):
    monkeypatch.setattr(common_processes, "FEW", 1)
    monkeypatch.setattr(multiprocessing.process.current_process(), "_config", {"daemon": True})
    assert list(process_map(identify, range(3), 3, "")) == [(item, os.getpid()) for item in range(3)]


SLOW = """
import os, sys, time
sys.path.insert(0, sys.argv[1])  # importing the package would take seconds
import common_processes
common_processes.FEW = 1
def work(item):
    print(os.getpid(), flush=True)
    time.sleep(60)
list(common_processes.process_map(work, range(40), 40, ""))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems use one process")
def test_processes_end_with_a_killed_parent():
    folder = Path(common_processes.__file__).parent
    with subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{worker}").exists()
