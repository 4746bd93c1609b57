"""`mmsent compare`: two models on the same posts."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel
from sklearn.metrics import accuracy_score, f1_score

from mmsent.evaluation import compare as compare_module
from mmsent.evaluation.compare import bootstrap, compare, compare_seeds, read_predictions, resampled_scores

NAMES = ["negative", "neutral", "positive"]


def draw(seed: int, count: int = 60, share: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, which do not depend on the seed, and predictions that are right for this share of them."""
    labels, rng = np.random.default_rng(99).integers(0, 3, count), np.random.default_rng(seed)
    return labels, np.where(rng.random(count) < share, labels, rng.integers(0, 3, count))


def write(path: Path, labels, predicted, ids: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = ids or [f"p{row}" for row in range(len(labels))]
    rows = [
        {"id": post, "label": NAMES[a], "prediction": NAMES[b], "scores": dict.fromkeys(NAMES, 0.3)}
        for post, a, b in zip(ids, labels, predicted, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process, and return what it prints."""

    def run(*argv) -> str:
        monkeypatch.setattr(sys, "argv", ["mmsent compare", *map(str, argv)])
        compare_module.main()
        return capsys.readouterr().out

    return run


def test_two_models_are_paired_by_id(tmp_path):
    labels, one = draw(1)
    _, other = draw(2, share=0.4)
    order = np.random.default_rng(0).permutation(60)
    paths = [
        write(tmp_path / "a.jsonl", labels, one),
        write(tmp_path / "b.jsonl", labels[order], other[order], [f"p{row}" for row in order]),
    ]
    report = compare(*map(read_predictions, paths))
    only_a = [row for row in range(60) if one[row] == labels[row] != other[row]]
    only_b = [row for row in range(60) if other[row] == labels[row] != one[row]]
    assert (report["only_a"]["posts"], report["only_b"]["posts"]) == (len(only_a), len(only_b))
    assert [entry["id"] for entry in report["only_a"]["examples"]] == [f"p{row}" for row in only_a[:5]]
    assert report["p_value"] == binomtest(len(only_a), len(only_a) + len(only_b), 0.5).pvalue
    assert report["a"]["accuracy"] == accuracy_score(labels, one)
    assert report["b"]["macro_f1"] == pytest.approx(f1_score(labels, other, average="macro"))
    for name in ("accuracy", "macro_f1"):
        difference = report["difference"][name]
        assert difference["value"] == report["a"][name] - report["b"][name]
        assert difference["interval"][0] < difference["value"] < difference["interval"][1]
    assert compare(*map(read_predictions, paths)) == report  # The bootstrap has a seed.


def test_the_mcnemar_test_is_exact():
    """One model is right on 1 of 6 posts that only one gets right: 2 (C(6, 0) + C(6, 1)) / 2^6."""
    labels = {f"p{row}": "a" for row in range(10)}
    one = {post: "a" if row != 1 and row < 7 else "b" for row, post in enumerate(labels)}
    other = {post: "a" if row in (0, 1) else "b" for row, post in enumerate(labels)}
    models = [compare_module.Predictions(name, labels, p, ["a", "b"]) for name, p in (("one", one), ("other", other))]
    report = compare(*models)
    assert (report["only_a"]["posts"], report["only_b"]["posts"]) == (5, 1)
    assert report["p_value"] == pytest.approx(2 * (1 + 6) / 64)
    assert compare(models[0], models[0])["p_value"] == 1.0


def test_the_scores_of_resampled_posts_are_those_of_sklearn():
    labels, one = draw(1, count=20)
    kinds, counts = np.unique(np.stack([labels, one]), axis=1, return_counts=True)
    draws = np.random.default_rng(0).multinomial(20, counts / 20, 30)
    scores = resampled_scores(draws, kinds[0], kinds[1], 3)
    for row, drawn in enumerate(draws):
        true, guess = np.repeat(kinds[0], drawn), np.repeat(kinds[1], drawn)
        assert scores["accuracy"][row] == pytest.approx(accuracy_score(true, guess))
        expected = f1_score(true, guess, labels=[0, 1, 2], average="macro", zero_division=0)
        assert scores["macro_f1"][row] == pytest.approx(expected)


def test_the_bootstrap_is_that_of_drawn_posts(monkeypatch):
    labels, one = draw(1, count=200)
    _, other = draw(2, count=200, share=0.5)
    rng, differences = np.random.default_rng(1), []
    for _ in range(2000):
        rows = rng.integers(0, 200, 200)
        differences.append((one[rows] == labels[rows]).mean() - (other[rows] == labels[rows]).mean())
    interval = bootstrap(labels, one, other, 3, seed=0)["accuracy"]
    assert interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.012)
    assert bootstrap(labels, one, one, 3, seed=0) == {"accuracy": [0, 0], "macro_f1": [0, 0]}


def test_folders_share_a_split(run, tmp_path):
    labels, one = draw(1)
    for name, split in (("a", "test"), ("a", "validation"), ("b", "validation")):
        write(tmp_path / name / f"predictions_{split}.jsonl", labels, one)
    printed = run(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "report.json")
    assert "60 posts" in printed
    assert json.loads((tmp_path / "report.json").read_text())["a"]["name"].endswith("predictions_validation.jsonl")


def test_seeds_of_two_recipes(run, tmp_path):
    models = [write(tmp_path / f"{seed}.jsonl", *draw(seed, share=0.9 if seed < 3 else 0.5)) for seed in range(6)]
    printed = run(*models[:3], "--against", *models[3:])
    assert "60 posts, 3 seeds" in printed
    report = compare_seeds(*([read_predictions(path) for path in paths] for paths in (models[:3], models[3:])))
    accuracies = [accuracy_score(*draw(seed, share=0.9 if seed < 3 else 0.5)) for seed in range(6)]
    assert report["accuracy"]["a"]["values"] == accuracies[:3]
    assert report["accuracy"]["b"]["std"] == pytest.approx(np.std(accuracies[3:], ddof=1))
    assert report["accuracy"]["p_value"] == pytest.approx(ttest_rel(accuracies[:3], accuracies[3:]).pvalue)
    same = [read_predictions(path) for path in models[:2]]
    assert compare_seeds(same, same)["accuracy"]["p_value"] is None


def test_wrong_use_is_one_line_that_names_the_posts(run, tmp_path, capsys):
    labels, one = draw(1)
    good = write(tmp_path / "a.jsonl", labels, one)
    fewer = write(tmp_path / "b.jsonl", labels[:58], one[:58])
    other_labels = write(tmp_path / "c.jsonl", [(labels[0] + 1) % 3, *labels[1:]], one)
    twice = write(tmp_path / "d.jsonl", labels[:2], one[:2], ["p0", "p0"])
    (tmp_path / "e.jsonl").write_text('{"row": 1, "id": "p0", "prediction": "neutral", "scores": {}}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    for path, message in (
        (fewer, "2 posts of " + str(good) + " are not in " + str(fewer) + ": p58, p59"),
        (other_labels, f"1 posts have different labels in {good} and {other_labels}: p0 ("),
        (twice, "line 2: the id p0 occurs twice"),
        (tmp_path / "e.jsonl", "e.jsonl, line 1: no id, label, prediction and scores"),
        (tmp_path / "empty.jsonl", "empty.jsonl holds no post"),
        (tmp_path / "none", "there is no "),
        (tmp_path / "folder", "They hold " + str(tmp_path / "folder") + ": none"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(good, path)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    for argv in ([good], [good, good, good], [good, "--against", good]):
        with pytest.raises(SystemExit):
            run(*argv)
