"""A further column in the commands: `predict`, `evaluate`, `explain`, the demo's table and the example of a card."""

import csv
import json
import sys
from pathlib import Path

import pytest
import tiny
from transformers import pipeline

from mmsent.demo import app
from mmsent.demo.table_tab import predict_table
from mmsent.explanation import explain
from mmsent.explanation.attribution import explain_post
from mmsent.explanation.html import to_html
from mmsent.inference import evaluate, predict
from mmsent.inference.examples import FURTHER, example_posts
from mmsent.inference.predict import load_pipeline
from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline

TEXTS, CAPTIONS = ["good day", "the coffee", None], ["a red shirt", None, "the blue cafe"]


@pytest.fixture(scope="module")
def models(backbones, tmp_path_factory) -> dict[str, Path]:
    """Return the folders of a model that was trained with captions, and of one that was trained without."""
    folders = {}
    for name, columns in (("with", ["caption"]), ("without", None)):
        folders[name] = tmp_path_factory.mktemp(name)
        for part in tiny.build("hsan", "own", backbones, columns=columns):
            part.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def classify(models) -> ImageTextSentimentPipeline:
    return pipeline(TASK, model=str(models["with"]))


def write_table(path: Path, column: str = "caption") -> Path:
    with path.open("w", newline="") as file:
        rows = zip(TEXTS, CAPTIONS, ["positive", "neutral", "negative"], ["test"] * 3, strict=True)
        csv.writer(file).writerows([["text", column, "label", "split"], *rows])
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process and return what it prints, or the error in one line."""

    def run(command, *argv) -> str:
        monkeypatch.setattr(sys, "argv", ["mmsent", *map(str, argv)])
        try:
            command.main()
        except SystemExit:
            return capsys.readouterr().err.splitlines()[-1]
        return capsys.readouterr().out

    return run


def scores(ranked: list[dict]) -> dict[str, float]:
    return {entry["label"]: pytest.approx(entry["score"], abs=2e-6) for entry in ranked}


@pytest.mark.parametrize(("column", "argv"), [("captions", []), ("seen", ["--caption_column", "seen"])])
def test_predict_reads_the_column(run, models, classify, tmp_path, column, argv):
    table = write_table(tmp_path / "posts.csv", column)
    printed = run(predict, "--model", models["with"], "--input", table, "--output", tmp_path / "out.jsonl", *argv)
    assert f"caption = {column}" in printed
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    posts = [{"text": text, "caption": caption} for text, caption in zip(TEXTS, CAPTIONS, strict=True)]
    assert [line["scores"] for line in lines] == [scores(ranked) for ranked in classify(posts)]
    plain = [scores(ranked) for ranked in classify([post | {"caption": None} for post in posts[:2]])]
    assert [line["scores"] == expected for line, expected in zip(lines, plain, strict=False)] == [False, True]


def test_columns_that_are_missing_or_not_read(run, models, tmp_path):
    table = write_table(tmp_path / "posts.csv", "seen")
    argv = ["--input", table, "--output", tmp_path / "out.jsonl"]
    error = run(predict, "--model", models["with"], *argv)
    assert f"The model reads a caption, and {table} has no column caption: name it with --caption_column." in error
    error = run(predict, "--model", models["without"], *argv, "--caption_column", "seen")
    assert f"--caption_column seen: {models['without']} does not read a caption; leave it out." in error
    two_captions = write_table(tmp_path / "two.csv", "captions")
    two_captions.write_text(two_captions.read_text().replace("label", "image_caption"))  # only a reader must choose
    assert "3 posts" not in run(predict, "--model", models["with"], "--input", two_captions, *argv[2:])
    assert "2 posts predicted" in run(predict, "--model", models["without"], "--input", two_captions, *argv[2:])


def test_evaluate_expects_the_column(run, models, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "write_figures", lambda *_: None)  # which would take most of the time
    table = write_table(tmp_path / "posts.csv")
    argv = ["--model", models["with"], "--dataset", table, "--split", "test", "--output", tmp_path / "evaluation"]
    assert "accuracy" in run(evaluate, *argv)
    write_table(table, "seen")
    error = run(evaluate, *argv, "--overwrite")
    assert f"{models['with']} reads a caption, but {table} has no column caption here." in error
    assert "accuracy" in run(evaluate, *argv, "--overwrite", "--dataset_kwargs", "caption_column=seen")


def test_the_demo_reads_the_column_of_a_table(classify, tmp_path):
    rows, _ = predict_table(classify, str(write_table(tmp_path / "posts.csv", "image_caption")), [])
    expected = classify({"text": TEXTS[0], "caption": CAPTIONS[0]})
    assert dict(zip(classify.model.config.label2id, rows[0][4:], strict=True)) == scores(expected)
    with pytest.raises(ValueError, match="reads a caption, and .* has no column caption"):
        predict_table(classify, str(write_table(tmp_path / "posts.csv", "seen")), [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given"), [("with", ["a red shirt"]), ("without", [])])
def test_the_demo_has_a_field_for_the_caption(models, name, given):
    pipe = load_pipeline(str(models[name]))
    page = app.build(pipe, str(models[name]))
    fields = {component["props"].get("elem_id") for component in page.config["components"]}
    assert ("caption" in fields) == bool(given)
    analyse = next(function.fn for function in page.fns.values() if function.name == "analyse")
    *_, (shown, page_section, *_) = analyse("good day", [], None, [], *given)
    expected = pipe({"text": "good day"} | dict(zip(["caption"], given, strict=False)))
    assert shown == scores(expected)
    assert all(caption in page_section for caption in given)


def test_explain_shows_the_caption_and_the_scores_without_it(run, models, classify, tmp_path):
    page = tmp_path / "why.html"
    argv = ["--text", "good day", "--caption", "a red shirt", "--output", page]
    assert "without caption" in run(explain, "--model", models["with"], *argv)
    assert "a red shirt" in page.read_text()
    error = run(explain, "--model", models["without"], *argv)
    assert f"--caption: {models['without']} does not read a caption; leave it out." in error
    explanation = explain_post(classify.model, classify.processor, "good day", caption="a red shirt", steps=4)
    assert explanation.without["caption"] == scores(classify({"text": "good day", "caption": None}))
    assert explanation.without["text"] == scores(classify({"text": None, "caption": "a red shirt"}))
    (hop,) = explanation.attention
    assert 0 < sum(hop.words) < 1
    assert "and the caption, have" in to_html(explanation)


def test_a_post_needs_the_key_but_not_the_caption(classify, models):
    with pytest.raises(
        ValueError, match="This model reads a caption: the post needs the key 'caption', with a string"
    ):
        classify({"text": "good day"})
    with pytest.raises(ValueError, match="The caption of a post is a string or None, not 5"):
        classify({"text": "good day", "caption": 5})
    with pytest.raises(ValueError, match="neither text nor caption, which is all that this model reads"):
        classify({"text": None, "caption": " "})
    assert len(classify({"text": None, "caption": "a red shirt"})) == 3
    assert len(pipeline(TASK, model=str(models["without"]))({"text": "good day"})) == 3


@pytest.mark.slow
def test_the_examples_of_a_card_have_the_column(classify, tmp_path):
    assert {post["caption"] for post in example_posts(tmp_path / "with", classify.model)} == {FURTHER["caption"]}
    classify.model.config.columns, columns = None, classify.model.config.columns
    assert not any("caption" in post for post in example_posts(tmp_path / "without", classify.model))
    classify.model.config.columns = columns
