"""Co-Memory+Aspect against the authors' code step by step, and what its hops share."""

import numpy as np
import pytest
import torch
from by_hand import (
    ASPECT,
    IMAGES,
    REGIONS,
    TOKENS,
    WORDS,
    aspect_posts,
    check_attentions,
    check_logits,
    count_outside_encoders,
    linear,
    lstm,
    numpy,
    projected,
    random_model,
    small_config,
)

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.co_memory_aspect import CoMemoryAspectForSequenceClassification

SIZE, IMAGE_SIZE = 5, 6


def build(**fields) -> CoMemoryAspectForSequenceClassification:
    fields = {"scoring": "scalar", "image_memory": "images", **fields}
    return random_model("co_memory_aspect", SIZE, IMAGE_SIZE, 0.5, **fields)


def slow_logits(model, words, aspect_words, images) -> np.ndarray:
    """Return the logits of one post without padding."""
    base = model.co_memory_aspect
    table = numpy(base.text_encoder.backbone.weight)
    text = [table[word] for word in words]
    slots = [np.mean(regions, 0) for regions in images]
    if model.config.image_memory == "regions":
        slots = [region for regions in images for region in regions]
    image = lstm(base.image_lstm.forward_lstm, slots)
    v_text = v_image = np.mean(table[aspect_words], 0) if len(aspect_words) else np.zeros(SIZE)
    for _ in range(model.config.hops):
        v_text = linear(base.update, v_text) + projected(base.attention, text, v_image)
        v_image = linear(base.update, v_image) + projected(base.attention, image, v_text)  # the new v_text
    return linear(model.classifier, np.concatenate([v_text, v_image]))


@pytest.mark.parametrize(
    "variant", [{"hops": 1}, {"hops": 2}, {}, {"scoring": "additive"}, {"image_memory": "regions"}], ids=str
)
def test_equations(variant):
    inputs = aspect_posts(IMAGE_SIZE)
    check_logits(build(**variant), slow_logits, inputs, TOKENS, ASPECT, IMAGES, atol=1e-4, rtol=1e-5)


def test_the_word_of_padding_starts_as_a_row_of_the_word_table():
    """The published table has it as row 0, and starts all rows by Xavier."""
    torch.manual_seed(0)
    config = small_config("co_memory_aspect", 60, IMAGE_SIZE, pad_to=320, initialization="official")
    padding = ARCHITECTURES["co_memory_aspect"].classifier(config).co_memory_aspect.aspect_padding.weight
    bound = (6 / (WORDS + 60)) ** 0.5
    assert 0.9 * bound < padding.abs().max() <= bound


def test_the_hops_share_their_weights():
    """There is one linear layer and one attention for all hops. The image memory is read in one direction only."""
    lstm_weights = 4 * SIZE * (IMAGE_SIZE + SIZE + 2)
    expected = lstm_weights + (SIZE**2 + SIZE) + (3 * SIZE**2 + 3 * SIZE)
    assert [count_outside_encoders(build(hops=hops)) for hops in (1, 3)] == [expected, expected]


@torch.no_grad()
@pytest.mark.parametrize("image_memory", ["images", "regions"])
def test_attentions_of_every_hop(image_memory):
    model, inputs = build(image_memory=image_memory), aspect_posts(IMAGE_SIZE)
    check_attentions(model(**inputs), inputs, REGIONS, (3, 3))


@torch.no_grad()
def test_both_vectors_start_as_the_aspect():
    model, inputs = build(), aspect_posts(IMAGE_SIZE)
    other = inputs | {"aspect_input_ids": inputs["aspect_input_ids"] % (WORDS - 1) + 1}
    change = (model(**inputs).fused - model(**other).fused).abs().amax(1)
    assert (change[:3] > 1e-4).all()
    assert change[3] == 0  # this post does not have an aspect
