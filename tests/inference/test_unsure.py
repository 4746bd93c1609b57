"""`mmsent predict --abstain_below` and `--unsure`."""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from mmsent.inference import predict
from mmsent.inference.unsure import abstain, choose_unsure

LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in tiny.build("comn", "own", backbones, score_temperature=0.1):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, monkeypatch):
    """Run the command in this process, and return its exit code."""

    def run(source: Path, output: Path, *argv: str) -> int:
        words = ["--model", model, "--input", source, "--output", output, *argv]
        monkeypatch.setattr(sys, "argv", ["mmsent predict", *map(str, words)])
        return predict.main()

    return run


@pytest.fixture
def source(tmp_path) -> Path:
    """A table of twenty posts, one row that cannot be read, and one post that says nothing."""
    tiny.picture(0).save(tmp_path / "a.png")
    texts = [f"{tiny.WORDS[row]} {tiny.WORDS[-row - 1]}" for row in range(20)]
    rows = [[f"p{row}", text, "a.png" if row % 3 == 0 else "", f"note {row}"] for row, text in enumerate(texts)]
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "images", "remark"], *rows, ["broken"], ["empty", "", "", ""]])
    return tmp_path / "posts.csv"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_record(row: int, *scores: float) -> dict:
    best = max(range(len(scores)), key=scores.__getitem__)
    return {"row": row, "id": None, "prediction": LABELS[best], "scores": dict(zip(LABELS, scores, strict=True))}


def test_doubtful_posts_have_a_reason_instead_of_a_prediction(run, source, tmp_path, capsys):
    run(source, tmp_path / "all.jsonl")
    every = read(tmp_path / "all.jsonl")
    highest = sorted(max(line["scores"].values()) for line in every if line["prediction"])
    threshold = round(highest[8], 4) + 0.0001
    run(source, tmp_path / "some.jsonl", "--abstain_below", str(threshold))
    for line, before in zip(read(tmp_path / "some.jsonl"), every, strict=True):
        assert line["scores"] == before["scores"]
        if before["prediction"] is None or max(line["scores"].values()) >= threshold:
            assert line == before
        else:
            score = max(line["scores"].values())
            assert line["prediction"] is None
            assert line["reason"] == f"the highest score {score:.4g} is below --abstain_below {threshold:g}"
    doubtful = sum(score < threshold for score in highest)
    assert 0 < doubtful < 20
    assert f"{doubtful} posts have a highest score below {threshold}" in capsys.readouterr().out


def test_the_reason_names_score_and_threshold():
    record = abstain(make_record(1, 0.2, 0.53, 0.27), 0.6)
    assert record["prediction"] is None
    assert record["reason"] == "the highest score 0.53 is below --abstain_below 0.6"


def test_the_lowest_margins_of_the_labels_take_turns():
    records = [
        make_record(1, 0.4, 0.3, 0.3),
        make_record(2, 0.5, 0.45, 0.05),
        make_record(3, 0.1, 0.1, 0.8),
        make_record(4, 0.49, 0.46, 0.05),
        make_record(5, 0.5, 0.45, 0.05),
        {"row": 6, "id": None, "prediction": None, "scores": dict.fromkeys(LABELS), "reason": "empty"},
        {"row": 7, "id": None, "error": "bad"},
    ]
    assert [record["row"] for record in choose_unsure(records, 4, LABELS)] == [4, 3, 2, 5]
    assert [record["margin"] for record in choose_unsure(records, 2, LABELS)] == [0.03, 0.7]
    assert len(choose_unsure(records, 100, LABELS)) == 5


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), max_size=300), st.integers(1, 5))
def test_the_choice_is_that_of_a_sort_of_all_records(numbers, count):
    """Although only some records are in memory."""
    records = [make_record(row, *(n / sum(scores) for n in scores)) for row, scores in enumerate(numbers)]
    queues = {label: [] for label in LABELS}
    for record in records:
        first, second, _ = sorted(record["scores"].values(), reverse=True)
        queues[record["prediction"]].append((round(first - second, 6), record["row"]))
    expected = []
    queues = [sorted(queue) for queue in queues.values()]
    while len(expected) < count and any(queues):
        expected += [queue.pop(0)[1] for queue in queues if queue]
    assert [record["row"] for record in choose_unsure(records, count, LABELS)] == expected[:count]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_that_is_ready_to_be_labelled(run, source, tmp_path, capsys, kind):
    run(source, tmp_path / "all.jsonl")
    output = tmp_path / f"unsure.{kind}"
    assert run(source, output, "--unsure", "5") == 1  # one row is bad
    assert f"5 posts to label are in {output}" in capsys.readouterr().out
    if kind == "csv":
        with output.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = read(output) if kind == "jsonl" else pq.read_table(output).to_pylist()
    expected = choose_unsure(read(tmp_path / "all.jsonl"), 5, LABELS)
    assert [row["id"] for row in rows] == [record["id"] for record in expected]
    for row, record in zip(rows, expected, strict=True):
        assert set(row) == {"id", "text", "images", "remark", "label", "prediction", "margin"} | {
            f"score_{label}" for label in LABELS
        }
        assert row["remark"] == f"note {record['id'][1:]}"
        assert row["label"] in ("", None)
        assert (row["prediction"], float(row["margin"])) == (record["prediction"], record["margin"])
        assert float(row["score_neutral"]) == record["scores"]["neutral"]
    assert not list(tmp_path.glob("*.part-*"))


def test_parquet_keeps_all_columns_and_the_images(run, tmp_path, capsys):
    tiny.picture(0).save(tmp_path / "a.png")
    image = {"bytes": (tmp_path / "a.png").read_bytes(), "path": "a.png"}
    table = pa.Table.from_pylist([{"text": "good", "images": [image], "label": "mine", "extra": 3}] * 3)
    pq.write_table(table, tmp_path / "posts.parquet")
    run(tmp_path / "posts.parquet", tmp_path / "unsure.parquet", "--unsure", "2")
    rows = pq.read_table(tmp_path / "unsure.parquet").to_pylist()
    assert [(row["label"], row["extra"], row["images"]) for row in rows] == [("mine", 3, [image])] * 2
    with pytest.raises(SystemExit):
        run(tmp_path / "posts.parquet", tmp_path / "unsure.csv", "--unsure", "2")
    assert "unsure.csv must end with .parquet" in capsys.readouterr().err


def test_wrong_numbers(run, source, tmp_path, capsys):
    for argv, message in (
        (["--unsure", "0"], "--unsure 0 must be 1 or more"),
        (["--abstain_below", "1.5"], "--abstain_below 1.5 must be between 0 and 1"),
        (["--unsure", "3", "--abstain_below", "0.5"], "--unsure lists the doubtful posts"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(source, tmp_path / "out.csv", *argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
