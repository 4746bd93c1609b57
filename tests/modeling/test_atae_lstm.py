"""ATAE-LSTM against the paper's equations step by step."""

import numpy as np
import torch
from by_hand import ASPECT, TOKENS, aspect_posts, check_logits, linear, lstm, numpy, random_model, softmax

SIZE, UNITS = 5, 4


def slow_logits(model, words, aspect_words) -> np.ndarray:
    """Return the logits of one post without padding, with the part of the score that the model leaves out."""
    base, rng = model.atae_lstm, np.random.default_rng(0)
    table, attention = numpy(base.text_encoder.backbone.weight), base.attention
    aspect = np.mean(table[aspect_words], 0) if len(aspect_words) else np.zeros(SIZE)
    states = lstm(base.text_lstm.forward_lstm, [np.concatenate([table[word], aspect]) for word in words])
    if not states:
        return linear(model.classifier, np.zeros(UNITS))
    w_v, w = rng.standard_normal((SIZE, SIZE)), rng.standard_normal(SIZE)
    hidden = [np.tanh(np.concatenate([numpy(attention.state_proj.weight) @ h, w_v @ aspect])) for h in states]
    weights = softmax([np.concatenate([numpy(attention.score.weight)[0], w]) @ h for h in hidden])
    read = sum(a * h for a, h in zip(weights, states, strict=True))
    vector = np.tanh(numpy(attention.read_proj.weight) @ read + numpy(attention.last_proj.weight) @ states[-1])
    return linear(model.classifier, vector)


def test_equations():
    model = random_model("atae_lstm", SIZE, 6, 0.5, hidden_size=UNITS)
    check_logits(model, slow_logits, aspect_posts(6), TOKENS, ASPECT, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_each_word_is_read_beside_the_aspect():
    model, inputs = random_model("atae_lstm", SIZE, 6, 0.5), aspect_posts(6)
    without = model(**inputs | {"aspect_attention_mask": torch.zeros(4, 3, dtype=torch.long)})
    change = (model(**inputs).text_attentions[0] - without.text_attentions[0]).abs().amax(1)
    assert (change > 1e-6).tolist() == [True, True, False, False]
