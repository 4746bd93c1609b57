"""Starts commands as real processes, with limits and without the rights of an administrator."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
from hostile_server import environment, limit

FOLDERS = ("in", "out", "home", "tmp", "cwd")
# Everything that the commands import.
MODULES = ("train", "mmsent.cli", "mmsent.demo.app", "mmsent.evaluation.audit", "mmsent.explanation.explain")
MODULES += ("mmsent.hub.export", "mmsent.hub.push", "mmsent.inference.evaluate", "hostile_mutants")


@dataclass
class Finished:
    """How a process ended: the exit code, or the negative number of the signal that ended it."""

    code: int
    stdout: str
    stderr: str
    mebibytes: float | None = None


def as_user() -> list[str]:
    """Return the words before a command that take the right to read and write all files from an administrator."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("an administrator reads all files, and there is no setpriv that takes this right away")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def variables() -> dict[str, str]:
    paths = [str(Path(__file__).parent), str(tiny.ROOT / "tests"), str(tiny.ROOT)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def server() -> Iterator[subprocess.Popen]:
    """Start a process that has imported all commands, and forks one for each case."""
    command = [*as_user(), sys.executable, str(Path(__file__).with_name("hostile_server.py")), *MODULES]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=variables(), **pipes) as process:
        yield process
        process.stdin.close()


def forked(process: subprocess.Popen, argv: list[object], folder: Path, seconds: int = 30) -> Finished:
    """Run a command in a process that the server forks."""
    job = {"argv": list(map(str, argv)), "folder": str(folder), "seconds": seconds}
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    texts = ((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    return Finished(answer["code"], *texts, answer["kibibytes"] / 1024)


def started(argv: list[object], folder: Path, seconds: int = 60) -> Finished:
    """Run a command in a process of its own, from the start of Python on."""
    first = [argv[0]] if str(argv[0]).endswith(".py") else ["-m", argv[0]]
    command = [*as_user(), sys.executable, *map(str, [*first, *argv[1:]])]
    options = {"cwd": folder / "cwd", "env": variables() | environment(folder), "preexec_fn": lambda: limit(seconds)}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
    return Finished(result.returncode, result.stdout, result.stderr)
