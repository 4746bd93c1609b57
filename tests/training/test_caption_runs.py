"""Training on captions: in memory, with cached features, as a stream and with augmentation."""

import csv
import json
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoConfig, AutoProcessor

from mmsent.training.posts import RunPosts

BRIEF = ["--num_train_epochs", "12", "--learning_rate", "0.01", "--report_to", "none", "--disable_tqdm", "true"]
WORDS = {"positive": "laughing", "negative": "weeping"}


@pytest.fixture
def table(tmp_path) -> Path:
    """Write posts whose label is in the caption alone."""
    rows = [(f"the {i}th day", f"a {word} child", label) for i in range(60) for label, word in WORDS.items()]
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "caption", "label"], *rows])
    return tmp_path / "posts.csv"


def test_captions_enter_the_vocabulary_where_they_are_read():
    train = Dataset.from_dict({"text": ["a", None], "caption": ["b", None], "aspect": [None, None]})
    posts = RunPosts({}, {"train": train}, {}, False)
    assert list(posts.texts("hsan")) == ["a", None, "b", None]
    assert list(posts.texts("comn")) == ["a", None]
    assert posts.filled(["caption", "aspect", "tree"]) == ["caption"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--cache_features", "true", "--model_kwargs", "freeze_text=true", "--features_dir", "features"],
        ["--synonyms", "synonyms.txt"],
        ["--streaming", "true", "--max_steps", "60", "--dataset_kwargs", "label_names=[negative,positive]"],
    ],
    ids=["memory", "cached", "augmented", "streamed"],
)
def test_a_run_reads_captions(table, tmp_path, monkeypatch, argv):
    import train

    monkeypatch.chdir(tmp_path)
    Path("synonyms.txt").write_text("day, night\n")
    if "--streaming" in argv:  # whose splits are not drawn
        rows = table.read_text().splitlines()
        Path("stream").mkdir()
        for name, part in {"train": rows[1:97], "dev": rows[97:109], "test": rows[109:]}.items():
            Path("stream", f"{name}.csv").write_text("\n".join([rows[0], *part]))
        table = Path("stream")
    argv = ["--architecture", "hsan", "--dataset", str(table), "--output_dir", "run", "--modalities", "text", *argv]
    monkeypatch.setattr(sys, "argv", ["train.py", *argv, *BRIEF])
    train.main()
    report = json.loads(Path("run/run.json").read_text())
    assert report["scores"]["test"]["accuracy"] == 1
    assert AutoConfig.from_pretrained("run").columns == ["caption"]
    assert {"laughing", "weeping"} <= AutoProcessor.from_pretrained("run").tokenizer.get_vocab().keys()
