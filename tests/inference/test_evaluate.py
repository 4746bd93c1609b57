"""`mmsent evaluate`: a trained model on a labelled corpus gives what training said, and wrong use is one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from datasets import ClassLabel, DatasetDict, load_dataset
from small_runs import write_corpus
from transformers import AutoConfig, pipeline

from mmsent.evaluation.calibration import log_scores
from mmsent.inference import evaluate
from mmsent.inference.evaluate import worst_posts
from mmsent.modeling.common_pipeline import TASK

BRIEF = ["--num_train_epochs", "2", "--per_device_train_batch_size", "16", "--report_to", "none"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory) -> Path:
    """The folder of a short run of train.py on a few of the sample posts."""
    import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    argv = ["train.py", "--output_dir", str(folder), "--dataset", str(corpus), *BRIEF, "--disable_tqdm", "true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        train.main()
    return folder


@pytest.fixture
def run(trained, corpus, monkeypatch, tmp_path):
    """Run the command in this process, and return the folder that it writes."""

    def run(*argv, dataset: Path = corpus, output: Path = tmp_path / "evaluation") -> Path:
        words = ["--model", trained, "--dataset", dataset, "--output", output, *argv]
        monkeypatch.setattr(sys, "argv", ["mmsent evaluate", *map(str, words)])
        evaluate.main()
        return output

    return run


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def relabelled(corpus: Path, folder: Path, names: list[str], keep=lambda post: True) -> Path:
    """Write the corpus with other names of its labels."""
    posts = load_dataset(str(corpus)).filter(keep).cast_column("label", ClassLabel(names=names))
    DatasetDict(posts).save_to_disk(folder / "arrow")
    (folder / "data").mkdir()
    for split, rows in posts.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    for path in (folder / "arrow").rglob("*"):
        if path.is_file():
            path.unlink()
    return folder


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_scores_are_those_that_training_wrote(run, trained, split, capsys):
    folder = run("--split", split)
    trained_report, report = read(trained / "run.json"), read(folder / "evaluation.json")
    name = f"predictions_{split}.jsonl"
    assert (folder / name).read_bytes() == (trained / name).read_bytes()
    for part in ("scores", "majority"):
        assert report[part] == {split: trained_report[part][split]}
    calibration, temperature = trained_report["calibration"], AutoConfig.from_pretrained(trained).score_temperature
    assert report["calibration"]["temperature"] == calibration["temperature"] == temperature != 1.0
    assert report["calibration"]["before"][split] == calibration["before"][split]
    assert report["calibration"]["risk_coverage"][split] == calibration["risk_coverage"][split]
    printed = capsys.readouterr().out
    assert f"\n{split} " in printed
    assert "wrong with the highest scores" in printed
    worst = report["worst"]
    assert [post["score"] for post in worst] == sorted((post["score"] for post in worst), reverse=True)
    assert all(post["label"] != post["prediction"] for post in worst)
    for kind in ("confusion", "reliability"):
        assert (folder / f"{kind}_{split}.png").stat().st_size > 1000


def test_the_pipeline_gives_the_scores_of_the_predictions_file(trained, corpus):
    posts = load_dataset(str(corpus), split="test").select(range(5))
    lines = [json.loads(line) for line in (trained / "predictions_test.jsonl").read_text().splitlines()]
    results = pipeline(TASK, model=str(trained))(list(posts.remove_columns("aspect")))
    for line, result in zip(lines, results, strict=False):
        assert line["prediction"] == result[0]["label"]
        scores = {entry["label"]: entry["score"] for entry in result}
        assert line["scores"] == pytest.approx(scores, abs=1e-5)


def test_all_posts(run, trained):
    report = read(run("--split", "all") / "evaluation.json")
    assert report["posts"] == {"all": 48 + 25 + 23}


def test_other_names_of_the_labels(run, trained, corpus, tmp_path, capsys):
    other = relabelled(corpus, tmp_path / "other", ["NEG", " Neutral", "pos itive"])
    with pytest.raises(SystemExit) as stop:
        run(dataset=other)
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the model does not know the label NEG" in error
    assert "those of the model are negative, neutral, positive" in error
    report = read(run("--label_map", "neg=negative", dataset=other) / "evaluation.json")
    assert report["scores"]["test"] == read(trained / "run.json")["scores"]["test"]
    assert "neg counts as negative" in report["notes"]


def test_a_corpus_without_a_label_of_the_model(run, corpus, tmp_path):
    two = relabelled(corpus, tmp_path / "two", ["negative", "neutral", "positive"], lambda post: post["label"] != 1)
    report = read(run(dataset=two) / "evaluation.json")
    assert report["scores"]["test"]["confusion_matrix"][1] == [0, 0, 0]


def test_images_that_cannot_be_decoded(run, standins, tmp_path, capsys):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    (folder / "images" / "5.jpg").write_bytes(b"damaged")
    argv = ["--data_dir", folder]
    with pytest.raises(SystemExit):
        run(*argv, dataset="twitter2015")
    assert "2 images cannot be decoded" in capsys.readouterr().err
    report = read(run(*argv, "--on_bad_image", "missing", dataset="twitter2015") / "evaluation.json")
    assert (report["posts"], len(report["bad_images"]["test"])) == ({"test": 2}, 2)
    with pytest.raises(SystemExit):
        run(*argv, "--on_bad_image", "skip", "--overwrite", dataset="twitter2015")
    assert "has no post left in test" in capsys.readouterr().err


def test_wrong_use_is_one_line(run, trained, tmp_path, capsys):
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "evaluation.json").write_text("mine")
    for argv, output, message in (
        (["--split", "dev"], tmp_path / "new", "has no dev posts here, only train, validation, test"),
        ([], trained, "holds a trained model: choose another --output"),
        ([], tmp_path / "done", "holds an evaluation: choose another --output, or --overwrite"),
        (["--dataset", "nothing"], tmp_path / "new", "dataset 'nothing' is not one of"),
        (["--model", tmp_path / "none"], tmp_path / "new", "There is no folder"),
        (["--batch_size", "0"], tmp_path / "new", "--batch_size 0 must be 1 or more"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(*argv, output=output)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert message in error.splitlines()[-1]
        assert "Traceback" not in error


def test_an_aspect_level_model_needs_aspects(trained, corpus, backbones, tmp_path, monkeypatch, capsys):
    processor, model = tiny.build("mimn", "own", backbones, aspects=["coffee"])
    for part in (processor, model):
        part.save_pretrained(tmp_path / "mimn")
    no_aspect = load_dataset(str(corpus), split="test").map(lambda post: {"aspect": None})
    (tmp_path / "plain" / "data").mkdir(parents=True)
    no_aspect.to_parquet(tmp_path / "plain" / "data" / "test-00000-of-00001.parquet")
    argv = ["--model", tmp_path / "mimn", "--dataset", tmp_path / "plain", "--output", tmp_path / "evaluation"]
    monkeypatch.setattr(sys, "argv", ["mmsent evaluate", *map(str, argv)])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "judges an aspect, but no post of" in capsys.readouterr().err


def test_the_worst_posts_are_those_with_the_highest_wrong_score(corpus):
    posts = load_dataset(str(corpus), split="test").select(range(4))
    logits = np.array([[0, 3, 0], [5, 0, 0], [0, 0, 4], [9, 0, 0]], np.float32)
    worst = worst_posts(posts, logits, [0, 1, 0, 0], ["negative", "neutral", "positive"], 2.0)
    assert [post["id"] for post in worst] == [posts["id"][row] for row in (1, 2, 0)]
    assert worst[0]["score"] == pytest.approx(np.exp(log_scores(logits, 2.0))[1].max(), abs=1e-6)
