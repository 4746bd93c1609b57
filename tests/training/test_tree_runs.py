"""Training on a column of parses, and predictions for posts with them."""

import csv
import json
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from mmsent.inference import predict
from mmsent.inference.parts import bad_rows_path
from mmsent.inference.predict import load_pipeline

BRIEF = ["--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true", "--on_bad_image", "missing"]


def write(path: Path, rows: list[tuple[str | None, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.slow
def test_a_run_reads_parses_and_its_predictions_need_them(tmp_path, monkeypatch, capsys):
    import train

    monkeypatch.chdir(tmp_path)
    posts = [
        (f"the {i}th day was {word}", f"(S (NP the {i}th day) (VP was {word}))", word)
        for i in range(30)
        for word in ("good", "bad")
    ]
    write(Path("posts.csv"), [("text", "parse", "label"), *posts])
    argv = ["--architecture", "t_lstm", "--dataset", "posts.csv", "--output_dir", "run", "--modalities", "text"]
    monkeypatch.setattr(sys, "argv", ["train.py", *argv, *BRIEF])
    train.main()
    assert AutoConfig.from_pretrained("run").columns == ["tree"]

    bent = "(S (S (S the day) was) good)"
    rows = [
        ("the day was good", "(S (NP the day) (VP was good))"),
        ("the day was good", bent),
        ("the day", "(S a day)"),
    ]
    write(Path("new.csv"), [("text", "tree"), *rows])
    command = ["predict", "--model", "run", "--input"]
    monkeypatch.setattr(sys, "argv", [*command, "new.csv", "--output", "new.jsonl"])
    predict.main()
    one, other = map(json.loads, Path("new.jsonl").read_text().splitlines())
    wrong = json.loads(bad_rows_path(Path("new.jsonl")).read_text())
    assert one["scores"] != other["scores"]  # the tree matters
    classify = load_pipeline("run")
    expected = classify({"text": "the day was good", "tree": bent})
    assert other["scores"][expected[0]["label"]] == pytest.approx(expected[0]["score"], abs=1e-5)
    assert "column tree of the post 'the day'" in wrong["error"]

    write(Path("bare.csv"), [("text",), ("the day",)])
    monkeypatch.setattr(sys, "argv", [*command, "bare.csv", "--output", "bare.jsonl"])
    with pytest.raises(SystemExit):
        predict.main()
    assert "tree_column" in capsys.readouterr().err
