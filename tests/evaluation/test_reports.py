"""Predictions of a run."""

import json

import numpy as np

from mmsent.evaluation.reports import write_predictions


def test_the_prediction_is_that_of_the_logits(tmp_path):
    """Probabilities that are rounded to six digits would be equal, and the first class would win."""
    logits = np.array([[0.0, 1e-6], [1e-6, 0.0]], np.float32)
    write_predictions(tmp_path / "predictions.jsonl", ["a", "b"], [1, 1], logits, ["negative", "positive"])
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == ["positive", "negative"]
    assert lines[0]["scores"] == {"negative": 0.5, "positive": 0.5}
