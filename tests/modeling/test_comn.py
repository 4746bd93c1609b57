"""The equations of the co-memory network step by step, and what each switch changes."""

from itertools import product

import numpy as np
import pytest
import tiny
import torch
from by_hand import (
    IMAGES,
    REGIONS,
    TEXT,
    check_attentions,
    check_logits,
    count_outside_encoders,
    features,
    guided,
    linear,
    random_model,
    reaches,
    softmax,
)

from mmsent.modeling.comn import CoMNForSequenceClassification

CROSS = ["both", "text2image", "image2text", "none"]
SCORING = ["scalar", "additive"]
TEXT_SIZE, IMAGE_SIZE = 5, 6


def build(**fields) -> CoMNForSequenceClassification:
    return random_model("comn", TEXT_SIZE, IMAGE_SIZE, 0.7, **fields)


def batch() -> dict[str, torch.Tensor]:
    """Return three posts: texts of 4, 2 and 1 tokens; one image, none and two."""
    return features(TEXT_SIZE, IMAGE_SIZE, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], [[1, 0], [0, 0], [1, 1]])


def first_hop(hop, memory):
    """h_i = tanh(W m_i + b); weights softmax(h_i · q); v = sum of weights times m_i (equations 1 to 8)."""
    return softmax([np.tanh(linear(hop.memory_proj, slot)) @ hop.query.numpy() for slot in memory])


def slow_logits(model, text_memory, images) -> np.ndarray:
    """Return the logits of one post from its tokens (L, D) and images (K, R, D), hop by hop."""
    config = model.config
    if config.visual_memory == "channels":
        images = images.transpose(0, 2, 1)  # (K, D, R)
    image_memory = images.reshape(-1, images.shape[-1])

    def step(hops, hop, memory, size, guide):
        index = hop - (config.hops - len(hops))
        if index < 0:
            return None
        if len(memory) == 0:
            return np.zeros(size)
        is_first = len(hops) == config.hops and index == 0
        weights = first_hop(hops[0], memory) if is_first else guided(hops[index], config.scoring, memory, guide)
        return sum(weight * slot for weight, slot in zip(weights, memory, strict=True))

    v_text = v_image = None
    for hop in range(config.hops):
        text_guide = v_image if config.cross in ("both", "image2text") else v_text
        image_guide = v_text if config.cross in ("both", "text2image") else v_image
        v_text, v_image = (
            step(model.comn.text_hops, hop, text_memory, TEXT_SIZE, text_guide),
            step(model.comn.image_hops, hop, image_memory, config.visual_memory_size, image_guide),
        )
    return linear(model.classifier, np.concatenate([v_text, v_image]))


@pytest.mark.parametrize(
    ("hops", "cross", "scoring", "visual_memory"),
    list(product([1, 2, 3, 4], CROSS, SCORING, ["regions", "channels"])),
)
def test_equations(hops, cross, scoring, visual_memory):
    model = build(hops=hops, cross=cross, scoring=scoring, visual_memory=visual_memory)
    check_logits(model, slow_logits, batch(), TEXT, IMAGES, atol=1e-5)


@pytest.mark.parametrize("scoring", SCORING)
@pytest.mark.parametrize("cross", CROSS)
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_cross_decides_who_guides_whom(hops, cross, scoring):
    model, inputs = build(hops=hops, cross=cross, scoring=scoring), batch()
    text, images = inputs["text_features"].requires_grad_(), inputs["image_features"].requires_grad_()
    output = model(**inputs)
    # The sum of all weights is constant, so each weight gets another factor.
    to_text, to_images = (
        attentions[-1] * torch.arange(attentions[-1].shape[-1])
        for attentions in (output.text_attentions, output.image_attentions)
    )
    assert reaches(to_images, text) == (hops > 1 and cross in ("both", "text2image"))
    assert reaches(to_text, images) == (hops > 1 and cross in ("both", "image2text"))
    assert reaches(to_text, text)
    assert reaches(to_images, images)


@torch.no_grad()
@pytest.mark.parametrize("visual_memory", ["regions", "channels"])
@pytest.mark.parametrize("cross", CROSS)
def test_attentions_of_every_hop(cross, visual_memory):
    """A modality that the other guides, but that does not guide it, has only its last hop."""
    model, inputs = build(hops=3, cross=cross, visual_memory=visual_memory), batch()
    hops = (1 if cross == "image2text" else 3, 1 if cross == "text2image" else 3)
    assert (len(model.comn.text_hops), len(model.comn.image_hops)) == hops
    check_attentions(model(**inputs), inputs, IMAGE_SIZE if visual_memory == "channels" else REGIONS, hops)


def test_number_of_weights():
    first = TEXT_SIZE**2 + 2 * TEXT_SIZE + IMAGE_SIZE**2 + 2 * IMAGE_SIZE  # W, b and q of each modality
    both = TEXT_SIZE + IMAGE_SIZE
    scalar = 2 * (both + 1)  # w and b on [m; v], for each modality
    additive = TEXT_SIZE * (both + 2) + IMAGE_SIZE * (both + 2)  # W, b, u
    for scoring, later in (("scalar", scalar), ("additive", additive)):
        for hops in (1, 2, 6):
            assert count_outside_encoders(build(hops=hops, scoring=scoring)) == first + (hops - 1) * later


def test_an_unknown_field_is_named(backbones):
    with pytest.raises(ValueError, match="CoMNConfig has no field hopps; it has aspects, columns, cross, .*hops"):
        tiny.build("comn", "own", backbones, hopps=2)
