"""Wrong commands as processes of an ordinary user: the exit code is 2, and one line on the standard error says why.

The first case of some commands is started with Python; the others are forked from a process that has imported the
commands. Where the tests run as root, the right to read all files is taken away first.
"""

import re
from shutil import copytree

import pytest
import tiny
from hostile_case import listing
from hostile_processes import FOLDERS, forked, server, started
from hostile_runs import RUNS

# What a command may print on the standard error before the line of the error: bars, and notes about a corpus.
PROGRESS = re.compile(r"(examples|it|ba)/s\]|^\w+, \w+: |^\x1b?\s*$")
MEBIBYTES = 2500  # of which the packages take most


@pytest.fixture(scope="module")
def process():
    with server() as process:
        yield process


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder)
    return folder


COMMANDS = [case.name.partition(":")[0] for case in RUNS]
STARTED = {COMMANDS.index(command) for command in ("predict", "demo", "train.py")}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(RUNS)), ids=[case.name for case in RUNS])
def test_a_wrong_command(number, process, model, tmp_path):
    case = RUNS[number]
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    copytree(model, tmp_path / "in/model")
    argv, output = case.make(tmp_path / "in"), tmp_path / "out"
    before = listing(tmp_path, output)
    ended = started(argv, tmp_path) if number in STARTED else forked(process, argv, tmp_path)
    written = listing(tmp_path, output).items() - before.items()
    lines = ended.stderr.splitlines()
    assert ended.code == 2, ended
    assert [line for line in lines[:-1] if line.strip() and not PROGRESS.search(line)] == []
    prog = "train.py" if "train.py" in str(argv[0]) else f"mmsent {argv[1]}"
    assert re.match(rf"{re.escape(prog)}: error: .*({case.says})", lines[-1]), lines[-1]
    assert {name for name, _ in written} <= {str(tmp_path / "stdout"), str(tmp_path / "stderr")}
    assert ended.mebibytes is None or ended.mebibytes < MEBIBYTES


def test_number_of_cases():
    assert all(COMMANDS.count(command) >= 3 for command in COMMANDS)
