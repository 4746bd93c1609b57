"""HSAN against its equations step by step, how it cuts sentences, and how it reads a caption."""

import numpy as np
import pytest
import tiny
import torch
from by_hand import bilstm, linear, numpy, random_model, softmax

from mmsent.modeling.hsan import MAX_SENTENCES

SIZE = 5


@pytest.fixture(scope="module")
def model():
    return random_model("hsan", SIZE, 3, 0.7, hidden_size=4).requires_grad_(False)


def batch() -> dict[str, torch.Tensor]:
    """Return posts with texts of 6, 4, 0 and 2 tokens, in 2, 3, 0 and 1 sentences, and captions of 3, 0, 1 and 0."""
    generator = torch.Generator().manual_seed(1)
    cut = [[[0, 1, 2], [3, 4, 5]], [[0], [1, 2], [3]], [], [[0, 1]]]
    positions = torch.full((4, 3, 3), -1)
    for post, sentences in enumerate(cut):
        for number, sentence in enumerate(sentences):
            positions[post, number, : len(sentence)] = torch.tensor(sentence)
    return {
        "text_features": torch.randn(4, 6, SIZE, generator=generator),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [0] * 6, [1] * 2 + [0] * 4]),
        "sentence_positions": positions,
        "caption_input_ids": torch.randint(1, 9, (4, 5), generator=generator),
        "caption_attention_mask": torch.tensor([[1, 1, 1, 0, 0], [0] * 5, [1, 0, 0, 0, 0], [0] * 5]),
    }


def slow_attention(layer, states: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ a_i h_i and a_i = softmax(u · tanh(W h_i + b))."""
    weights = softmax([numpy(layer.query) @ np.tanh(linear(layer.memory_proj, state)) for state in states])
    return sum(weight * state for weight, state in zip(weights, states, strict=True)), weights


def slow_post(model, inputs: dict, post: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of a post and the weight of each of its tokens."""
    base, words = model.hsan, inputs["text_features"][post].numpy()
    rows = [row[row >= 0].tolist() for row in inputs["sentence_positions"][post] if row[0] >= 0]
    sentences = [words[row] for row in rows]
    if inputs["caption_attention_mask"][post].any():
        ids = inputs["caption_input_ids"][post][inputs["caption_attention_mask"][post].bool()]
        sentences.append(numpy(base.text_encoder.backbone.weight)[ids.numpy()])
    read = [slow_attention(base.word_attention, bilstm(base.word_lstm, sentence)) for sentence in sentences]
    vector, weights = slow_attention(base.sentence_attention, bilstm(base.sentence_lstm, [v for v, _ in read]))
    attention = np.zeros(len(words))
    for row, (_, inner), outer in zip(rows, read, weights, strict=False):
        attention[row] = inner * outer
    return linear(model.classifier, vector), attention


def test_logits_and_attention_equal_the_equations(model):
    inputs = batch()
    output = model(**inputs)
    for post in range(4):
        logits, attention = slow_post(model, inputs, post)
        np.testing.assert_allclose(output.logits[post].numpy(), logits, rtol=1e-5, atol=1e-6)
        if inputs["attention_mask"][post].any():
            np.testing.assert_allclose(output.text_attentions[0][post].numpy(), attention, rtol=1e-5, atol=1e-6)
    assert output.text_attentions[0][2].eq(0).all()
    totals = output.text_attentions[0].sum(1)  # the rest is that of the caption
    assert 0 < totals[0] < 1
    torch.testing.assert_close(totals[[1, 3]], torch.ones(2))


def test_without_positions_a_text_is_one_sentence(model):
    inputs = batch()
    inputs["sentence_positions"] = (
        torch.arange(6).expand(4, 1, 6).masked_fill(inputs["attention_mask"][:, None] == 0, -1)
    )
    expected = model(**inputs).logits
    del inputs["sentence_positions"]
    torch.testing.assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize("encoders", ["own", "transformers"])
def test_sentences_are_cut_and_every_token_belongs_to_one(encoders, backbones):
    processor, _ = tiny.build("hsan", encoders, backbones)
    texts = ["good day. bad coffee ! me", "the shirt", None, "a. " * (MAX_SENTENCES + 5)]
    batch = processor(text=texts, caption=["a red shirt", None, None, None])
    positions, tokens = batch["sentence_positions"], batch["attention_mask"].sum(1).tolist()
    special = 1 if encoders == "transformers" else 0
    words = [[len(row[row >= 0]) for row in post if row[0] >= 0] for post in positions]
    assert words[0] == [3 + special, 3, 1 + special]  # a dot and an exclamation mark are tokens
    assert words[1] == [2 + 2 * special]
    assert len(words[3]) == MAX_SENTENCES
    for post in (0, 1, 3):
        assert positions[post][positions[post] >= 0].tolist() == list(range(tokens[post]))
    assert batch["caption_attention_mask"].sum(1).tolist() == [3 + 2 * special, 0, 0, 0]
    assert not any(name.startswith("caption") for name in processor(text=texts))


@pytest.mark.parametrize("encoders", ["own", "transformers"])
def test_a_caption_of_another_post_changes_nothing(encoders, backbones):
    processor, model = tiny.build("hsan", encoders, backbones)
    texts, captions = ["good day. bad cafe", None, "me"], ["a red shirt", "the blue coffee. a day", None]
    together = tiny.logits(model, processor(text=texts, caption=captions))
    for post, (text, caption) in enumerate(zip(texts, captions, strict=True)):
        alone = tiny.logits(model, processor(text=[text], caption=[caption]))
        torch.testing.assert_close(alone[0], together[post], rtol=0, atol=1e-5)
    without = tiny.logits(model, processor(text=texts))
    assert (without - together).abs().amax(1).gt(1e-4).tolist() == [True, True, False]
