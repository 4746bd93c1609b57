"""The examples that the page offers."""

import csv
import json

import numpy as np
import pytest
import tiny
from PIL import Image

from mmsent.demo.corpus_examples import demo_examples


@pytest.fixture(scope="module")
def classifier(backbones):
    return tiny.build("comn", "own", backbones)[1]


@pytest.fixture
def trained(tmp_path):
    """A run folder whose settings name a table of posts, with a broken picture."""
    posts = tmp_path / "posts"
    posts.mkdir()
    with (posts / "posts.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["tweet", "photo", "sentiment", "split"])
        for number in range(24):
            tiny.picture(number).save(posts / f"{number}.png")
            label, split = ("bad" if number % 3 else "good"), ("test" if number > 11 else "train")
            table.writerow([f"my post {number}", f"{number}.png", label, split])
    (posts / "13.png").write_text("broken")
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.json").write_text(json.dumps({"dataset": str(posts / "posts.csv"), "seed": 1}))
    return run


def test_the_examples_are_posts_of_the_corpus_that_the_model_has_not_seen(trained, classifier, tmp_path):
    examples = demo_examples(str(trained), tmp_path / "examples", classifier, of_corpus=True)
    assert [post["text"] for post in examples] == ["my post 12", "my post 14", "my post 15"]  # good, bad, good
    for post in examples:
        number = int(post["text"].split()[-1])
        (path,) = post["images"]
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(tiny.picture(number)))
        assert post["aspect"] is None


def test_the_corpus_is_not_shown_where_it_must_not(trained, classifier, tmp_path):
    examples = demo_examples(str(trained), tmp_path / "examples", classifier, of_corpus=False)
    assert len(examples) == 3
    assert not any("my post" in post["text"] for post in examples)


@pytest.mark.parametrize("settings", [{"dataset": "gone/posts.csv"}, {"dataset": "mvsa_single", "data_dir": "gone"}])
def test_a_corpus_that_is_gone_is_said(trained, classifier, tmp_path, capsys, settings):
    (trained / "settings.json").write_text(json.dumps(settings))
    examples = demo_examples(str(trained), tmp_path / "examples", classifier, of_corpus=True)
    assert len(examples) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The examples are generated posts")
    assert "gone" in line


def test_a_model_that_is_not_a_run_has_generated_examples(classifier, tmp_path, capsys):
    assert len(demo_examples("me/model", tmp_path / "examples", classifier, of_corpus=True)) == 3
    assert capsys.readouterr().out == ""
