"""Every wrong use of train.py ends with one line and the exit code 2, before the training begins."""

import importlib
import re
import sys

import numpy as np
import pytest
from wrong_argument_files import WrongFiles
from wrong_arguments import CASES

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.evaluation.scores import score, single_numbers
from mmsent.training.arguments import check_metric


@pytest.fixture(scope="module")
def files(backbones, tmp_path_factory):
    return WrongFiles(tmp_path_factory.mktemp("files"), backbones)


@pytest.mark.parametrize("line", CASES)
def test_a_wrong_argument_is_one_line_and_leaves_nothing(line, files, tmp_path, monkeypatch, capsys):
    argv = [word.format(**files) for word in line.split()]
    defaults = {"--output_dir": tmp_path / "runs" / "run", "--report_to": "none", "--disable_tqdm": "true"}
    if not any(word.startswith("--dataset") for word in argv):
        defaults["--dataset"] = files["posts"]
    argv += [str(word) for name, value in defaults.items() if name not in argv for word in (name, value)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    monkeypatch.setattr("transformers.Trainer.train", pytest.fail)
    train = importlib.import_module("train")
    before = sorted(files["words"].parent.rglob("*"))
    with pytest.raises(SystemExit) as stop, exit_with_one_line("train.py"):
        train.main()
    assert stop.value.code == 2
    errors = [row for row in capsys.readouterr().err.splitlines() if "error:" in row]
    assert len(errors) == 1
    assert re.search(CASES[line], errors[0]), errors[0]
    assert list(tmp_path.iterdir()) == []
    assert sorted(files["words"].parent.rglob("*")) == before


@pytest.mark.parametrize("label_names", [["bad", "good"], None])
def test_every_number_of_an_evaluation_may_select_the_epoch(label_names):
    names = single_numbers(score(np.array([0, 1]), [0, 0], ["bad", "good"]))
    assert {"macro_precision", "weighted_recall", "precision_bad", "recall_good"} < set(names)
    for name in ("loss", *names):
        check_metric(name, label_names)
        check_metric(f"eval_{name}", label_names)
