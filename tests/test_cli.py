"""Test the command `mmsent`; the tests of each room test its commands."""

import sys

import pytest

from mmsent import cli


def run(monkeypatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mmsent", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_the_help_lists_the_commands(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= set(cli.COMMANDS)


@pytest.mark.parametrize("argv", [["nonsense", "--help"], []])
def test_an_unknown_or_missing_command(monkeypatch, capsys, argv):
    assert run(monkeypatch, *argv) == 2
    assert "usage: mmsent COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "explain", "push", "demo"])
def test_each_command_names_itself_in_its_help(monkeypatch, capsys, command):
    assert run(monkeypatch, command, "--help") == 0
    assert f"usage: mmsent {command}" in capsys.readouterr().out
