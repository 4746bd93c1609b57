"""What `mmsent predict` writes about posts that say nothing or have no scores, and what it refuses before the work."""

import csv
import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.inference import predict


@pytest.fixture(scope="module")
def models(backbones, tmp_path_factory) -> dict[str, Path]:
    """Return the folders of models that read all, texts only, or an aspect too."""
    folders = {}
    for name, architecture, config in (
        ("both", "comn", {}),
        ("text", "comn", {"modalities": "text"}),
        ("aspect", "mimn", {"aspects": ["coffee"]}),
    ):
        folders[name] = tmp_path_factory.mktemp(name)
        for part in tiny.build(architecture, "own", backbones, **config):
            part.save_pretrained(folders[name])
    return folders


@pytest.fixture
def run(models, monkeypatch, tmp_path):
    """Run the command in this process on posts.csv, and return its exit code."""

    def run(model: str | Path, *argv: str, output: str | Path = "out.jsonl") -> int:
        command = [
            "--model",
            models.get(model, model),
            "--input",
            tmp_path / "posts.csv",
            "--output",
            tmp_path / output,
        ]
        monkeypatch.setattr(sys, "argv", ["mmsent predict", *map(str, command), *argv])
        return predict.main()

    return run


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


POSTS = "text,images\ngood day,\n ,\nhttp://a.b,\n,a.png\n,[]\n"


def test_posts_that_say_nothing_have_a_reason_and_no_prediction(run, models, tmp_path, capsys):
    (tmp_path / "posts.csv").write_text(POSTS)
    tiny.picture(0).save(tmp_path / "a.png")
    assert run("both") == 0
    assert "3 posts predicted and written" in (printed := capsys.readouterr().out)
    assert "2 posts say nothing: they have no prediction in" in printed
    assert "allow_empty" not in printed
    lines = read(tmp_path / "out.jsonl")
    assert [line["row"] for line in lines if line["prediction"] is None] == [2, 5]
    assert lines[1]["scores"] == dict.fromkeys(["negative", "neutral", "positive"])
    assert lines[1]["reason"] == "the post has neither text nor an image"
    assert "reason" not in lines[0]
    assert not (tmp_path / "out.jsonl.bad.jsonl").exists()
    run("both", output="out.parquet")
    run("both", output="out.csv")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    for line, row, record in zip(lines, table, cells, strict=True):
        assert (row["prediction"], row["reason"]) == (line["prediction"], line.get("reason"))
        assert [row[f"score_{name}"] for name in line["scores"]] == list(line["scores"].values())
        assert (record["prediction"] or None, record["reason"] or None) == (row["prediction"], row["reason"])
        assert [record[f"score_{name}"] for name in line["scores"]] == [
            "" if score is None else str(score) for score in line["scores"].values()
        ]


def test_what_is_nothing_depends_on_the_model_and_its_text_steps(run, models, tmp_path):
    (tmp_path / "posts.csv").write_text(POSTS)
    tiny.picture(0).save(tmp_path / "a.png")
    run("text")
    lines = read(tmp_path / "out.jsonl")
    assert [line["row"] for line in lines if line["prediction"] is None] == [2, 4, 5]
    assert lines[3]["reason"] == "the post has no text, which is all that this model reads"
    pipe = predict.load_pipeline(str(models["both"]))
    pipe.processor.text_steps = ["strip_links"]
    posts = open_posts(tmp_path / "posts.csv")
    records = list(predict.predict_rows(pipe, posts, dict(posts)))
    assert records[2]["reason"] == "the post has neither text nor an image (after the text steps strip_links)"
    assert [record["row"] for record in records if record["prediction"] is None] == [2, 3, 5]


def test_a_bad_image_changes_no_other_row(run, tmp_path):
    tiny.picture(0).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "posts.csv").write_text("text,images\ngood day,a.png\nso plain,a.png\n")
    run("both")
    expected = [(line["prediction"], line["scores"]) for line in read(tmp_path / "out.jsonl")]
    (tmp_path / "posts.csv").write_text("text,images\ngood day,a.png\na,bad.png\n,\nso plain,a.png\n")
    assert run("both", output="other.jsonl") == 1
    lines = read(tmp_path / "other.jsonl")
    assert [(line["prediction"], line["scores"]) for line in lines if line["prediction"]] == expected
    assert [line["row"] for line in read(tmp_path / "other.jsonl.bad.jsonl")] == [2]


def test_scores_that_are_not_finite_are_bad_rows(run, models, tmp_path):
    folder = tmp_path / "huge"
    folder.mkdir()
    for file in models["both"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"].fill_(3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tiny.picture(0).save(tmp_path / "a.png")
    (tmp_path / "posts.csv").write_text("text,images\ngood,a.png\n ,\n")
    assert run(folder) == 1
    (bad,) = read(tmp_path / "out.jsonl.bad.jsonl")
    assert (bad["row"], bad["error"]) == (1, "the model gives this post scores that are not finite numbers")
    assert [line["prediction"] for line in read(tmp_path / "out.jsonl")] == [None]


def test_a_model_of_aspects_needs_the_column(run, tmp_path, capsys):
    (tmp_path / "posts.csv").write_text("text,about\ngood day,coffee\nbad,\n")
    with pytest.raises(SystemExit, match="2"):
        run("aspect")
    assert "posts.csv has no column aspect: name it with --aspect_column" in capsys.readouterr().err.splitlines()[-1]
    assert run("aspect", "--aspect_column", "about") == 1
    (bad,) = read(tmp_path / "out.jsonl.bad.jsonl")
    assert (bad["row"], "needs the key 'aspect'" in bad["error"]) == (2, True)


def test_aspects_for_a_model_without_aspects_warn_once(run, tmp_path, caplog):
    (tmp_path / "posts.csv").write_text("text,aspect\ngood day,coffee\nbad,coffee\n")
    logging.get_logger("transformers").warning_once.cache_clear()
    assert run("both", "--batch_size", "1") == 0
    assert sum("does not read an aspect" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("folder.csv", "folder.csv is a folder: name a file"),
        ("posts.csv", "would replace its --input"),
        ("file/out.csv", "file is a file: .*file/out.csv cannot be written into it"),
        ("closed/new/out.csv", "You may not write into .*closed: choose another folder for out.csv"),
        ("done.csv", "done.csv exists already: delete it, or choose another --output"),
    ],
)
def test_outputs_are_refused_before_the_model_is_loaded(run, tmp_path, capsys, output, message, monkeypatch):
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    for name in ("folder.csv", "closed"):
        (tmp_path / name).mkdir()
    for name in ("file", "done.csv"):
        (tmp_path / name).touch()
    # root may write everywhere
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed")
    monkeypatch.setattr(predict, "load_pipeline", pytest.fail)
    with pytest.raises(SystemExit, match="2"):
        run("both", output=output)
    (error,) = capsys.readouterr().err.splitlines()
    assert re.search(message, error)
    assert (tmp_path / "posts.csv").read_text() == "text\ngood day\n"


def test_bad_rows_that_are_predicted_again_are_not_overwritten(run, tmp_path, capsys):
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    with pytest.raises(SystemExit, match="2"):
        run("both", "--input", str(tmp_path / "out.jsonl.bad.jsonl"))
    assert "would replace its --input" in capsys.readouterr().err
