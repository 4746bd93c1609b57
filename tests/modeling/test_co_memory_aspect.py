"""Co-Memory+Aspect against a slow reading of the authors' code, and what its hops share."""

import numpy as np
import pytest
import torch

from mmsent.modeling.co_memory_aspect import CoMemoryAspectConfig, CoMemoryAspectForSequenceClassification
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_word_vectors import WordVectorsConfig

WORDS, SIZE, IMAGE_SIZE, REGIONS = 9, 5, 6, 4


def build(**kwargs) -> CoMemoryAspectForSequenceClassification:
    torch.manual_seed(0)
    config = CoMemoryAspectConfig(
        text_config=WordVectorsConfig(vocab_size=WORDS, hidden_size=SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        **{"standardize": False, "scoring": "scalar", "image_memory": "images", **kwargs},
    )
    model = CoMemoryAspectForSequenceClassification(config).eval()
    for parameter in model.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Four posts, images as cached features: ragged texts, none in the third; one image, none, two and three; aspects
    of two words, one, three, and none."""
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(1, WORDS, (4, 5), generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]),
        "aspect_input_ids": torch.randint(1, WORDS, (4, 3), generator=generator),
        "aspect_attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]),
        "image_features": torch.randn(4, 3, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1]]).bool(),
    }


def numpy(parameter):
    return parameter.detach().numpy()


def linear(layer, x):
    return numpy(layer.weight) @ x + numpy(layer.bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(layer, sequence):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_x, w_h, b_x, b_h = (numpy(getattr(layer, name)) for name in names)
    h, c, states = np.zeros(SIZE), np.zeros(SIZE), []
    for x in sequence:
        i, f, g, o = np.split(w_x @ x + b_x + w_h @ h + b_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def attend(attention, memory, guide):
    keys = [numpy(attention.key_proj.weight) @ slot for slot in memory]
    query = numpy(attention.query_proj.weight) @ guide
    score = numpy(attention.score.weight)[0]
    if len(score) == 2 * SIZE:
        scores = np.array([np.tanh(score @ np.concatenate([key, query])) for key in keys])
    else:
        scores = np.array([score @ np.tanh(key + query) for key in keys])
    weights = np.exp(scores) / np.exp(scores).sum()
    return linear(attention.output_proj, sum((a * key for a, key in zip(weights, keys, strict=True)), np.zeros(SIZE)))


def literal(model, words, aspect_words, images) -> np.ndarray:
    """The logits of one post from its unpadded parts."""
    base = model.co_memory_aspect
    table = numpy(base.text_encoder.backbone.weight)
    text = [table[word] for word in words]
    slots = [np.mean(regions, 0) for regions in images]
    if model.config.image_memory == "regions":
        slots = [region for regions in images for region in regions]
    image = lstm(base.image_lstm.forward_lstm, slots)
    v_text = v_image = np.mean([table[word] for word in aspect_words], 0) if aspect_words else np.zeros(SIZE)
    for _ in range(model.config.hops):
        v_text = linear(base.update, v_text) + attend(base.attention, text, v_image)
        v_image = linear(base.update, v_image) + attend(base.attention, image, v_text)  # the new one
    return linear(model.classifier, np.concatenate([v_text, v_image]))


@torch.no_grad()
@pytest.mark.parametrize(
    "variant", [{"hops": 1}, {"hops": 2}, {}, {"scoring": "additive"}, {"image_memory": "regions"}], ids=str
)
def test_the_equations(variant):
    model, inputs = build(**variant), batch()
    logits = model(**inputs).logits
    for post in range(4):
        words = inputs["input_ids"][post][inputs["attention_mask"][post].bool()].tolist()
        aspect = inputs["aspect_input_ids"][post][inputs["aspect_attention_mask"][post].bool()].tolist()
        images = list(inputs["image_features"][post][inputs["image_mask"][post]].numpy())  # (K, R, D)
        np.testing.assert_allclose(logits[post].numpy(), literal(model, words, aspect, images), atol=1e-4, rtol=1e-5)


def test_the_hops_share_their_weights():
    """One linear layer and one attention, whatever the hops; the image memory is read in one direction only."""

    def count(hops: int) -> int:
        base = build(hops=hops).co_memory_aspect
        return sum(p.numel() for name, p in base.named_parameters() if "encoder" not in name)

    lstm_weights = 4 * SIZE * (IMAGE_SIZE + SIZE + 2)
    assert count(1) == count(3) == lstm_weights + (SIZE**2 + SIZE) + (3 * SIZE**2 + 3 * SIZE)


def test_every_weight_is_trained():
    model = build().train()
    inputs = {name: value for name, value in batch().items() if name != "image_features"}
    inputs["pixel_values"] = torch.randn(4, 3, 3, 4, 4)
    model(**inputs, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
@pytest.mark.parametrize("image_memory", ["images", "regions"])
def test_output(image_memory):
    model, inputs = build(image_memory=image_memory), batch()
    output = model.base_model(**inputs)
    assert output.logits is None
    assert output.fused.shape == (4, 2 * SIZE)
    slot_mask = inputs["image_mask"].repeat_interleave(REGIONS, 1)
    for attentions, mask in ((output.text_attentions, inputs["attention_mask"]), (output.image_attentions, slot_mask)):
        assert len(attentions) == 3
        for weights in attentions:
            assert weights.shape == mask.shape
            assert (weights[mask == 0] == 0).all()
            torch.testing.assert_close(weights.sum(1), mask.any(1).float())


@torch.no_grad()
def test_the_aspect_begins_both_vectors():
    model, inputs = build(), batch()
    other = inputs | {"aspect_input_ids": inputs["aspect_input_ids"] % (WORDS - 1) + 1}
    change = (model(**inputs).fused - model(**other).fused).abs().amax(1)
    assert (change[:3] > 1e-4).all()
    assert change[3] == 0  # it has no aspect


def test_bad_settings():
    with pytest.raises(ValueError, match="at least one hop"):
        CoMemoryAspectConfig(hops=0)
