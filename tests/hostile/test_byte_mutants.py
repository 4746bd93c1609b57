"""Files that are valid but for a few bytes: the result is right, or an error of the kind that a user can correct.

The slow suite reads them in a process of its own for each kind of file, where a crash of a decoder is seen.
"""

from pathlib import Path

import pytest
import tiny
from hostile_mutants import TARGETS, mutants, run
from hostile_processes import FOLDERS, forked, server

FAST = 16  # mutants of a kind in the fast suite


@pytest.fixture(scope="module")
def folder(backbones, tmp_path_factory) -> Path:
    """A folder with a saved model."""
    folder = tmp_path_factory.mktemp("mutants")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def process():
    with server() as process:
        yield process


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_mutants(name, folder):
    assert run(name, folder, 0, FAST) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_mutants_in_a_process(name, folder, process, tmp_path):
    for part in FOLDERS:
        (tmp_path / part).mkdir()
    ended = forked(process, ["hostile_mutants", name, folder, FAST, TARGETS[name].count], tmp_path, 200)
    assert ended.code == 0, f"after mutant {ended.stdout[-20:]}: {ended.stderr[-5000:]}"
    assert sum(map(str.isdigit, ended.stdout.splitlines())) == TARGETS[name].count - FAST


def test_mutants_differ_and_are_the_same_each_time():
    one, other = (list(mutants(bytes(range(200)), 50, 7)) for _ in range(2))
    assert one == other
    assert len(set(one)) > 40
    assert sum(target.count for target in TARGETS.values()) >= 2000
    assert FAST * len(TARGETS) >= 200
