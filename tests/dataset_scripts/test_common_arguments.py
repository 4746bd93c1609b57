"""Test how errors of the user end a command."""

import pytest
from datasets.exceptions import DatasetGenerationError
from safetensors import SafetensorError

from mmsent.dataset_scripts.common_arguments import exit_with_one_line, parse_name_values


@pytest.mark.parametrize("error", [ValueError("two\nlines"), OSError("two  lines"), SafetensorError("two lines")])
def test_an_error_of_the_user_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as stop, exit_with_one_line("mmsent x"):
        raise error
    assert stop.value.code == 2
    assert capsys.readouterr().err == "mmsent x: error: two lines\n"


def test_the_cause_of_a_failed_build_is_named(capsys):
    with pytest.raises(SystemExit), exit_with_one_line("mmsent x"):
        raise DatasetGenerationError("An error occurred") from ValueError("posts.csv, line 3: correct it")
    assert "posts.csv, line 3" in capsys.readouterr().err


def test_a_traceback_is_shown_for_debugging_and_for_defects(monkeypatch):
    with pytest.raises(KeyError), exit_with_one_line("mmsent x"):
        raise KeyError("a defect")
    monkeypatch.setenv("MMSENT_DEBUG", "1")
    with pytest.raises(ValueError, match="wrong"), exit_with_one_line("mmsent x"):
        raise ValueError("wrong")


@pytest.mark.parametrize("value", ["[", "[" * 60_000, "{a: ]", "\0"])
def test_a_value_that_is_not_yaml(value):
    with pytest.raises(ValueError, match="is not YAML that can be read"):
        parse_name_values([f"classes={value}"])
