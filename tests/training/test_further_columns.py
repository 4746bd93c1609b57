"""Further columns of posts: every one can be in a table; training on parses, and predictions for posts with them."""

import csv
import json
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from mmsent.dataset_scripts.common_columns import FIELDS, FURTHER_FIELDS
from mmsent.dataset_scripts.posts.plan import PostsConfig
from mmsent.inference import predict
from mmsent.inference.examples import FURTHER
from mmsent.inference.parts import bad_rows_path
from mmsent.inference.predict import load_pipeline
from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import DataArguments

BRIEF = ["--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true", "--on_bad_image", "missing"]


def write(path: Path, rows: list[tuple[str | None, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize("name", sorted({name for row in ARCHITECTURES.values() for name in row.processor.columns}))
def test_a_column_that_an_architecture_reads_can_be_in_a_table(name):
    """Otherwise the processor could read it, and no command would give it the column."""
    assert name in FURTHER_FIELDS
    argument = FIELDS[name][0]
    assert {argument} <= DataArguments.__dataclass_fields__.keys() & PostsConfig.__dataclass_fields__.keys()
    assert name in FURTHER  # what the example of a card holds


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
