"""The report of a run: what it shows, and that it is one page without scripts and addresses."""

import json
import re

import pytest
import tiny
from accessibility import cut_off, findings, needs_chromium
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from mmsent.evaluation.advice import advice
from mmsent.evaluation.report_page import reliability, write_report

NAMES = ["negative", "positive"]
SCORES = {
    "accuracy": 0.75,
    "accuracy_interval": [0.3, 0.95],
    "macro_f1": 0.7,
    "weighted_f1": 0.72,
    **{"macro_precision": 0.611, "weighted_precision": 0.612, "macro_recall": 0.613, "weighted_recall": 0.614},
    **{"precision_negative": 0.621, "precision_positive": 0.622, "recall_negative": 0.631, "recall_positive": 0.632},
    "f1_negative": 0.2,
    "f1_positive": 0.8,
    "confusion_matrix": [[1, 1], [0, 2]],
    "subgroups": {"no <text>": {"posts": 40, "accuracy": 0.5, "accuracy_interval": [0.2, 0.8]}},
}


def run_report(**changes) -> dict:
    log = [{"epoch": e, "loss": 1 / e, "eval_loss": 0.5, "eval_accuracy": 0.4 + 0.1 * e} for e in (1.0, 2.0)]
    return {
        "command": "train.py --dataset <b>",
        "seed": 1,
        "seconds": 1234,
        "best_epoch": 2.0,
        "posts": {"train": 9, "test": 4},
        "missing_posts": {"test": ["a", "b"]},
        "bad_images": {"train": ["c: broken"]},
        "scores": {"test": SCORES},
        "majority": {"test": SCORES | {"accuracy": 0.5, "label": "positive"}},
        "log": log,
    } | changes


@pytest.fixture
def page(tmp_path) -> str:
    """Write the report of four posts, and return it."""
    tiny.picture(0).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = [("<script>alert(1)</script>", "a.png"), ("good", "broken.png"), ("x" * 1000, None), (None, "a.png")]
    columns = {
        "text": Value("string"),
        "images": List(Image()),
        "aspect": Value("string"),
        "label": ClassLabel(names=NAMES),
    }
    posts = Dataset.from_list(
        [
            {"text": text, "images": [str(tmp_path / name)] if name else [], "aspect": "food", "label": 0}
            for text, name in rows
        ],
        features=Features(columns),
    )
    lines = [
        {"id": f"id-{i}", "label": "negative", "prediction": prediction, "scores": {"negative": 1 - s, "positive": s}}
        for i, (prediction, s) in enumerate(
            [("positive", 0.9), ("negative", 0.1), ("negative", 0.3), ("positive", 0.6)]
        )
    ]
    (tmp_path / "predictions_test.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    write_report(tmp_path, run_report(), {"test": posts}, NAMES)
    return (tmp_path / "report.html").read_text()


def test_the_page_shows_scores_examples_and_advice(page):
    assert "75.0%" in page
    assert "30.0% to 95.0%" in page
    assert "always positive" in page
    cells = [re.findall(r"<t[hd].*?>(.*?)</t", row) for row in re.findall(r"<tr>.*</tr>", page)]
    assert ["negative", "62.1%", "63.1%", "20.0%"] in cells
    assert ["weighted average", "61.2%", "61.4%", "72.0%"] in cells
    assert "no &lt;text&gt;" in page
    assert "<code>--num_train_epochs</code>" in page
    kinds = re.findall(r"<h3>(Wrong.*|Right.*|The model.*)</h3>", page)
    assert kinds == ["Wrong, and the model is sure", "Right, and the model is sure", "The model is not sure"]
    wrong, right, unsure = (re.findall(r"id-\d</p>", part) for part in page.split("<h3>")[-3:])
    assert wrong == ["id-0</p>", "id-3</p>"]
    assert right == ["id-1</p>", "id-2</p>"]
    assert unsure == ["id-3</p>", "id-2</p>", "id-1</p>", "id-0</p>"]
    assert "A picture cannot be decoded." in page
    assert "x" * 400 + " …" in page
    assert page.count("data:image/jpeg;base64,") == 4  # two pictures, each in two kinds of examples


def test_the_page_contains_no_script_and_no_address(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "train.py --dataset &lt;b&gt;" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page


def test_reliability_by_hand():
    predictions = [
        {"label": label, "prediction": "a", "scores": {"a": score, "b": 1 - score}}
        for label, score in [("a", 0.95), ("b", 0.91), ("a", 0.62), ("b", 1.0)]
    ]
    low, high = reliability(predictions)
    assert low == {"bin": 6, "posts": 1, "score": 0.62, "accuracy": 1.0}
    assert high == {"bin": 9, "posts": 3, "score": pytest.approx(2.86 / 3), "accuracy": pytest.approx(1 / 3)}


def test_advice_follows_the_figures():
    sentences = "\n".join(advice(run_report(), NAMES))
    for part in (
        "2 posts of the corpus are not in its folder",
        "1 images could not be decoded",
        "The last epoch was the best one",
        "not certainly above that of always saying positive (50.0%)",
        "65 points wide",
        "the class negative is recognised far worse than positive",
        "among the 40 posts of the group “no <text>” only 50% are right",
    ):
        assert part in sentences
    assert "rises after epoch" not in sentences
    log = [{"epoch": e, "eval_loss": loss} for e, loss in ((1.0, 0.5), (2.0, 0.9))]
    assert "rises after epoch 1" in "\n".join(advice(run_report(best_epoch=1.0, log=log), NAMES))


def test_a_good_run_gets_no_advice_but_the_audit():
    good = SCORES | {"accuracy_interval": [0.73, 0.77], "f1_negative": 0.7, "subgroups": {}}
    run = run_report(scores={"test": good}, missing_posts={}, bad_images={}, best_epoch=1.0)
    run["log"] = [{"epoch": e, "eval_loss": 0.5} for e in (1.0, 2.0)]
    assert len(advice(run, NAMES)) == 1
    assert advice(run, NAMES)[0].startswith("`mmsent audit`")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, browser, scheme):
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 380, "height": 800})
    tab.set_content(page)
    assert findings(tab) == []
    assert cut_off(tab) == []
    tab.close()
