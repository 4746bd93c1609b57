"""IAN against the paper's equations step by step."""

import numpy as np
from by_hand import ASPECT, TOKENS, aspect_posts, check_logits, linear, lstm, numpy, random_model, softmax

SIZE, UNITS = 5, 4


def read(attention, memory, guide) -> np.ndarray:
    """Return what the guide reads of a memory, which may be empty."""
    bias = numpy(attention.bias)[0]
    scores = [np.tanh(m @ numpy(attention.guide_proj.weight) @ guide + bias) for m in memory]
    weights = softmax(scores) if scores else []
    return sum((a * m for a, m in zip(weights, memory, strict=True)), np.zeros(UNITS))


def slow_logits(model, words, aspect_words) -> np.ndarray:
    """Return the logits of one post without padding."""
    base = model.ian
    table = numpy(base.text_encoder.backbone.weight)
    text = lstm(base.text_lstm.forward_lstm, table[words])
    aspect = lstm(base.aspect_lstm.forward_lstm, table[aspect_words])
    text_mean, aspect_mean = (np.mean(states, 0) if states else np.zeros(UNITS) for states in (text, aspect))
    vector = np.concatenate([read(base.attention, aspect, text_mean), read(base.attention, text, aspect_mean)])
    return np.tanh(linear(model.classifier, vector))


def test_equations():
    model = random_model("ian", SIZE, 6, 0.5, hidden_size=UNITS)
    check_logits(model, slow_logits, aspect_posts(6), TOKENS, ASPECT, atol=1e-5, rtol=1e-5)


def test_the_code_has_two_attentions_and_no_tanh():
    model = random_model("ian", SIZE, 6, 5.0, hidden_size=UNITS, reading="official")
    assert {name for name, _ in model.ian.named_children() if "attention" in name} == {
        "text_attention",
        "aspect_attention",
    }
    assert model(**aspect_posts(6)).logits.abs().max() > 1
