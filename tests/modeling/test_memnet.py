"""MemNet against the paper's equations step by step."""

import numpy as np
import pytest
import torch
from by_hand import ASPECT, TOKENS, aspect_posts, check_logits, guided, linear, numpy, random_model

SIZE = 5
MARKED = torch.tensor([[-2, -1, 0, 1, 2], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
PLACES = ("positions", "attention_mask")


def slow_logits(model, words, aspect_words, positions) -> np.ndarray:
    """Return the logits of one post without padding."""
    base, n = model.memnet, len(words)
    table = numpy(base.text_encoder.backbone.weight)
    memory = [table[word] for word in words]
    if model.config.location == "linear" and positions.any():
        pairs = zip(memory, positions, strict=True)
        memory = [word * (1 - abs(place) / n) for word, place in pairs if place != 0]
    vector = np.mean(table[aspect_words], 0) if len(aspect_words) else np.zeros(SIZE)
    for _ in range(model.config.hops):
        weights = guided(base.attention, model.config.scoring, memory, vector) if memory else []
        read = sum((a * word for a, word in zip(weights, memory, strict=True)), np.zeros(SIZE))
        vector = read + linear(base.update, vector)
    return linear(model.classifier, vector)


@pytest.mark.parametrize("variant", [{}, {"scoring": "scalar", "hops": 1}, {"location": "none"}], ids=str)
def test_equations(variant):
    model = random_model("memnet", SIZE, 6, 0.5, **variant)
    inputs = aspect_posts(6) | {"positions": MARKED}
    check_logits(model, slow_logits, inputs, TOKENS, ASPECT, PLACES, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attentions_of_every_hop():
    model, inputs = random_model("memnet", SIZE, 6, 0.5), aspect_posts(6) | {"positions": MARKED}
    output = model(**inputs)
    assert len(output.text_attentions) == 3
    read = inputs["attention_mask"].bool() & torch.tensor([[1, 1, 0, 1, 1], [0, 1, 0, 0, 0], [0] * 5, [1] * 5]).bool()
    for weights in output.text_attentions:
        assert torch.equal(weights > 0, read)
        torch.testing.assert_close(weights.sum(1), read.any(1).float())
