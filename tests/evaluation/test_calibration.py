"""The temperature of the scores, and the measures of calibration."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmsent.evaluation.calibration import (
    BINS,
    THRESHOLDS,
    calibration,
    calibration_report,
    cross_fitted_temperatures,
    fit_temperature,
    log_scores,
    risk_coverage,
)
from mmsent.evaluation.reports import print_calibration, write_predictions


def sample(count: int, temperature: float, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose scores are the true probabilities of the labels at this temperature, and the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2 * temperature, (count, classes)).astype(np.float32)
    labels = np.array([rng.choice(classes, p=row) for row in np.exp(log_scores(logits, temperature))])
    return logits, labels


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return -np.mean([log_scores(logits, temperature)[row, label] for row, label in enumerate(labels)])


posts = st.integers(2, 5).flatmap(
    lambda classes: st.integers(1, 40).flatmap(
        lambda count: st.tuples(
            arrays(np.float32, (count, classes), elements=st.floats(-50, 50, width=32)),
            arrays(np.int64, count, elements=st.integers(0, classes - 1)),
        )
    )
)


@given(posts)
@settings(deadline=None, max_examples=60)
def test_a_fitted_temperature_is_never_worse_than_none(case):
    """The posts may be few, have one class only, or be all right or all wrong."""
    logits, labels = case
    temperature = fit_temperature(logits, labels)
    assert 0.05 <= temperature <= 20
    assert nll(logits, labels, temperature) <= nll(logits, labels, 1.0)


@given(posts, st.floats(0.05, 20))
@settings(deadline=None, max_examples=60)
def test_a_temperature_never_changes_the_prediction(case, temperature):
    logits, _ = case
    scores = log_scores(logits, temperature)
    assert (scores[range(len(logits)), logits.argmax(1)] == scores.max(1)).all()


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_temperature_of_calibrated_scores_is_found(truth):
    logits, labels = sample(4000, truth)
    assert fit_temperature(logits, labels) == pytest.approx(truth, rel=0.08)
    assert cross_fitted_temperatures(logits, labels) == pytest.approx(truth, rel=0.1)


def test_a_model_that_is_always_right_does_not_become_sure_of_everything():
    logits = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
    temperature = fit_temperature(logits, np.arange(30) % 3)
    assert 0.1 < temperature < 1
    assert np.exp(log_scores(logits, temperature)).max() == pytest.approx(31 / 33, abs=0.001)
    assert fit_temperature(100 * logits, np.arange(30) % 3) == 1.0  # A temperature above 1 would be worse here.


def test_the_measures_are_those_of_the_formulas():
    logits, labels = sample(100, 2.0)
    scores = np.exp(log_scores(logits, 1.0))
    expected = {"nll": 0.0, "brier": 0.0}
    for row, label in enumerate(labels):
        expected["nll"] -= np.log(scores[row, label]) / 100
        expected["brier"] += sum((scores[row, name] - (name == label)) ** 2 for name in range(3)) / 100
    rows = sorted(range(100), key=lambda row: scores[row].max())
    error = 0.0
    for number in range(BINS):
        members = rows[number * 100 // BINS : (number + 1) * 100 // BINS]
        confidence = sum(scores[row].max() for row in members) / len(members)
        accuracy = sum(scores[row].argmax() == labels[row] for row in members) / len(members)
        error += len(members) / 100 * abs(accuracy - confidence)
    report = calibration(log_scores(logits, 1.0), labels)
    assert {name: report[name] for name in expected} == pytest.approx(expected)
    assert report["ece"] == pytest.approx(error)
    assert sum(entry["posts"] for entry in report["reliability"]) == 100


def test_posts_with_equal_scores_share_a_bin():
    """Otherwise the error would depend on the order of the posts."""
    logits = np.repeat(np.array([[3.0, 0], [1, 0]]), [60, 15], axis=0)
    labels = np.arange(75) % 2
    report, order = calibration(log_scores(logits, 1.0), labels), np.random.default_rng(0).permutation(75)
    assert [entry["posts"] for entry in report["reliability"]] == [15, 60]
    assert calibration(log_scores(logits[order], 1.0), labels[order])["ece"] == pytest.approx(report["ece"])
    assert len(calibration(log_scores(logits[:1], 1.0), labels[:1])["reliability"]) == 1


def test_coverage_and_accuracy_of_thresholds():
    logits = np.log([[0.55, 0.45], [0.65, 0.35], [0.25, 0.75], [0.85, 0.15]])
    rows = {row["threshold"]: row for row in risk_coverage(log_scores(logits, 1.0), np.array([0, 1, 1, 0]))}
    assert list(rows) == list(THRESHOLDS)
    assert rows[0.5] == {"threshold": 0.5, "posts": 4, "coverage": 1.0, "accuracy": 0.75}
    assert rows[0.6] == {"threshold": 0.6, "posts": 3, "coverage": 0.75, "accuracy": pytest.approx(2 / 3)}
    assert rows[0.95] == {"threshold": 0.95, "posts": 0, "coverage": 0.0, "accuracy": None}


def test_the_report_says_what_the_temperature_does_to_other_posts(capsys):
    logits, labels = sample(500, 3.0)
    temperature = fit_temperature(logits, labels)
    report = calibration_report({"validation": logits}, {"validation": labels.tolist()}, temperature, "validation")
    after, own = report["after"]["validation"], calibration(log_scores(logits, temperature), labels)
    assert after["nll"] < report["before"]["validation"]["nll"]
    assert after["nll"] > own["nll"]  # The posts on which a temperature is fitted flatter it.
    assert json.loads(json.dumps(report)) == report
    print_calibration(report)
    printed = capsys.readouterr().out
    assert f"temperature {temperature:.4g}, fitted on validation" in printed
    assert "--abstain_below, on validation" in printed


def test_predictions_have_calibrated_scores(tmp_path):
    logits = np.array([[2.0, 0.0], [0.0, 4.0]], np.float32)
    write_predictions(tmp_path / "predictions.jsonl", ["a", "b"], [0, 0], logits, ["no", "yes"], temperature=2.0)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == ["no", "yes"]
    assert [line["scores"]["yes"] for line in lines] == pytest.approx([1 / (1 + np.e), 1 / (1 + np.exp(-2))], abs=1e-6)
