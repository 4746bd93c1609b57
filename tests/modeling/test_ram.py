"""RAM against the paper's equations step by step."""

import numpy as np
import pytest
import torch
from by_hand import ASPECT, TOKENS, aspect_posts, bilstm, check_logits, linear, numpy, random_model, sigmoid, softmax
from test_memnet import MARKED, PLACES

SIZE, UNITS, SPAN = 5, 4, 3


def gru(cell, x, h) -> np.ndarray:
    """Return the next state; PyTorch's gates are reset, update, new, and it resets after the matrix."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_x, w_h, b_x, b_h = (numpy(getattr(cell, name)) for name in names)
    (rx, zx, nx), (rh, zh, nh) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    z = sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + sigmoid(rx + rh) * nh) + z * h


def scores(attention, scoring: str, memory, episode, aspect) -> list[float]:
    guide = np.concatenate([episode, aspect])
    if scoring == "linear":  # with any weights for the guide
        return [numpy(attention.score.weight)[0] @ m + guide.sum() for m in memory]
    weight = np.concatenate([numpy(attention.memory_proj.weight), numpy(attention.guide_proj.weight)], 1)
    hidden = [np.tanh(weight @ np.concatenate([m, guide]) + numpy(attention.memory_proj.bias)) for m in memory]
    return [numpy(attention.score.weight)[0] @ h for h in hidden]


def slow_logits(model, words, aspect_words, positions) -> np.ndarray:
    """Return the logits of one post without padding."""
    base = model.ram
    table = numpy(base.text_encoder.backbone.weight)
    memory = []
    for state, place in zip(bilstm(base.text_lstm, table[words]), positions, strict=True):
        distance = np.clip(place / SPAN, -1, 1)
        memory.append(np.append(state * (1 - abs(distance)), distance))
    aspect = np.mean(table[aspect_words], 0) if len(aspect_words) else np.zeros(SIZE)
    episode = np.zeros(2 * UNITS)
    for attention in base.attentions:
        weights = softmax(scores(attention, model.config.scoring, memory, episode, aspect)) if memory else []
        read = sum((a * m for a, m in zip(weights, memory, strict=True)), np.zeros(2 * UNITS + 1))
        episode = gru(base.gru, read, episode)
    return linear(model.classifier, episode)


@pytest.mark.parametrize("scoring", ["additive", "linear"])
def test_equations(scoring):
    model = random_model("ram", SIZE, 6, 0.5, hidden_size=UNITS, max_distance=SPAN, scoring=scoring)
    inputs = aspect_posts(6) | {"positions": 2 * MARKED}  # some are further than max_distance
    check_logits(model, slow_logits, inputs, TOKENS, ASPECT, PLACES, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_with_linear_scores_only_the_distances_tell_the_aspect():
    inputs = aspect_posts(6)
    other = inputs | {"aspect_input_ids": inputs["aspect_input_ids"] % 8 + 1}
    for scoring, reads_aspect in (("linear", False), ("additive", True)):
        model = random_model("ram", SIZE, 6, 0.5, scoring=scoring)
        assert torch.equal(model(**inputs).logits, model(**other).logits) != reads_aspect
