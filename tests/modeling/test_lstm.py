"""The LSTM step by step, and what it does not read."""

import numpy as np
import pytest
import torch
from by_hand import TEXT, check_logits, features, linear, lstm, random_model

SIZE, UNITS = 5, 4


def slow_logits(model, words) -> np.ndarray:
    """Return the logits of one post without padding."""
    states = lstm(model.lstm.text_lstm.forward_lstm, words) or [np.zeros(UNITS)]
    return linear(model.classifier, np.mean(states, 0) if model.config.reading == "paper" else states[-1])


@pytest.mark.parametrize("reading", ["paper", "official"])
def test_equations(reading):
    model = random_model("lstm", SIZE, 6, 0.5, reading=reading, hidden_size=UNITS)
    inputs = features(SIZE, 6, [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], [[1], [0], [1]])
    check_logits(model, slow_logits, inputs, TEXT, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_the_text_is_read():
    model = random_model("lstm", SIZE, 6, 0.5)
    inputs = features(SIZE, 6, [[1, 1], [1, 0]], [[1], [1]])
    text = {name: inputs[name] for name in TEXT}
    assert torch.equal(model(**text).logits, model(**inputs).logits)
    assert not [name for name in model.state_dict() if "image" in name]
