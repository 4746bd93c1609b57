"""From a table of one's own to a trained model: the splits of a run are kept, and wrong use is one line."""

import csv
import json
import subprocess
import sys

import pandas as pd
import pytest
from standins import draw, write_posts
from tiny import ROOT

from mmsent.training.arguments import DataArguments
from mmsent.training.recipes import parse_arguments

FAST = ["--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true"]


def train(folder, *words) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "train.py"), *FAST, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_arguments_of_a_table_become_options_of_the_corpus():
    words = ["--dataset", "a/posts.csv", "--image_columns", "one", "two", "--label_column", "mood"]
    _, data_args, run_args = parse_arguments(words, "")
    assert data_args.table_options() == {"image_columns": ["one", "two"], "label_column": "mood"}
    assert DataArguments().table_options() == {}
    assert run_args.output_dir == "runs/posts-comn"


@pytest.mark.slow
def test_a_table_with_usual_columns(tmp_path):
    folder = write_posts(tmp_path / "mine", 200)
    done = train(folder, "--dataset", "posts.csv", "--output_dir", "run")
    assert done.returncode == 0, done.stderr
    run = json.loads((folder / "run" / "run.json").read_text())
    assert run["posts"] == {"train": 159, "validation": 21, "test": 20}
    assert any("text = tweet, images = photo, label = sentiment" in note for note in run["notes"])
    config = json.loads((folder / "run" / "config.json").read_text())
    assert list(config["id2label"].values()) == ["negative", "neutral", "positive"]
    splits = json.loads((folder / "run" / "splits.json").read_text())
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [159, 21, 20]
    again = train(
        *(folder, "--dataset", "posts.csv", "--output_dir", "again"),
        *("--dataset_kwargs", "splits=run/splits.json", "split_seed=5"),
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "again" / "splits.json").read_text()) == splits


def msed_columns(folder):
    with (folder / "msed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Title", "Caption", "Sentiment", "Emotion", "Desire", "Image"])
        for i in range(60):
            draw(folder / f"{i}.jpg", i)
            writer.writerow([f"Title {i}", "c", ["positive", "neutral", "negative"][i % 3], "joy", "none", f"{i}.jpg"])
    return "msed.csv"


def mvsa_columns(folder):
    rows = [f"{i}\ttweet {i}\t{i}.jpg\t{'positive' if i % 2 else 'negative'}\tpositive\tneutral" for i in range(60)]
    for i in range(60):
        draw(folder / f"{i}.jpg", i)
    (folder / "mvsa.tsv").write_text("\n".join(["ID\ttext\timage\tlabel\ttext_label\timage_label", *rows]) + "\n")
    return "mvsa.tsv"


def pandas_bytes(folder):
    for i in range(60):
        draw(folder / f"{i}.jpg", i)
    images = [(folder / f"{i}.jpg").read_bytes() for i in range(60)]
    frame = pd.DataFrame({"content": [f"text {i}" for i in range(60)], "img": images})
    frame["polarity"] = [float(i % 3 - 1) for i in range(60)]
    frame.sample(frac=1, random_state=0).to_parquet(folder / "posts.parquet")
    return "posts.parquet"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "names"),
    [
        (msed_columns, ["negative", "neutral", "positive"]),
        (mvsa_columns, ["negative", "neutral", "positive"]),
        (pandas_bytes, ["-1", "0", "1"]),
    ],
)
def test_tables_of_others(write, names, tmp_path):
    done = train(tmp_path, "--dataset", write(tmp_path), "--output_dir", "run")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert list(config["id2label"].values()) == names


@pytest.mark.slow
def test_wrong_use_is_one_line(tmp_path):
    folder = write_posts(tmp_path / "mine")
    for words, message in (
        (["--dataset", "none.csv"], "there is no file"),
        (["--dataset", "posts.csv", "--label_column", "mood"], "has no column mood; its columns are tweet, photo"),
        (["--text_column", "tweet"], "sample_posts has no option text_column"),
    ):
        done = train(folder, *words, "--output_dir", "run")
        assert (done.returncode, message in done.stderr.splitlines()[-1]) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
