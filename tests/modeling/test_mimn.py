"""The equations of the multi-interactive memory network step by step, in both readings, and its switches."""

from itertools import product

import numpy as np
import pytest
import torch
from by_hand import (
    ASPECT,
    IMAGES,
    REGIONS,
    TOKENS,
    aspect_posts,
    bilstm,
    check_attentions,
    check_logits,
    count_outside_encoders,
    guided,
    linear,
    numpy,
    projected,
    random_model,
    reaches,
    sigmoid,
    small_config,
    untrained,
)

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_base import logger
from mmsent.modeling.mimn import MIMNConfig, MIMNForSequenceClassification

INTERACTIONS = ["both", "text2image", "image2text", "self"]
READINGS = [("paper", "scalar"), ("paper", "additive"), ("official", "additive")]
IMAGE_MEMORIES = ["images", "regions"]
TEXT_SIZE, IMAGE_SIZE, HIDDEN = 5, 6, 3


def build(**fields) -> MIMNForSequenceClassification:
    return random_model("mimn", TEXT_SIZE, IMAGE_SIZE, 0.7, hidden_size=HIDDEN, **fields)


def batch() -> dict[str, torch.Tensor]:
    return aspect_posts(IMAGE_SIZE)


# ------------------------------------------------------------------------------------------------------- the equations


def gru(cell, x, h):
    """h' = (1 - z) n + z h, with n = tanh(W x + b + r (U h + c))."""
    w_x, w_h, b_x, b_h = (numpy(getattr(cell, name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    (rx, zx, nx), (rh, zh, nh) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + r * nh) + z * h


def slow_logits(model, words, aspect_words, images) -> np.ndarray:
    """Return the logits of one post without padding."""
    config, mimn = model.config, model.mimn
    table = numpy(mimn.text_encoder.backbone.weight)
    slots = [np.mean(image, 0) for image in images]
    if config.image_memory == "regions":
        slots = [region for image in images for region in image]
    memory = {"text": bilstm(mimn.text_lstm, table[words]), "image": bilstm(mimn.image_lstm, slots)}
    aspect = bilstm(mimn.aspect_lstm, table[aspect_words])
    v_aspect = np.mean(aspect, 0) if aspect else np.zeros(2 * HIDDEN)
    guided_by_other = {"text": ("both", "image2text"), "image": ("both", "text2image")}

    def attend(attention, slots, guide):
        if config.reading == "official":
            return projected(attention, slots, guide)
        weights = guided(attention, config.scoring, slots, guide) if slots else []
        return sum((a * slot for a, slot in zip(weights, slots, strict=True)), np.zeros(2 * HIDDEN))

    v = {"text": v_aspect, "image": v_aspect}
    interactive = range(config.hops)
    if config.reading == "paper":
        v = {name: attend(getattr(mimn, f"{name}_first"), memory[name], v_aspect) for name in v}
        interactive = range(1, config.hops)
    for hop in interactive:
        before = dict(v)
        for name, other in (("text", "image"), ("image", "text")):
            interaction = getattr(mimn, f"{name}_hops")[0 if config.reading == "official" else hop - 1]
            read = [attend(interaction.own, memory[name], before[name])]
            if config.interaction in guided_by_other[name]:
                read.append(attend(interaction.cross, memory[name], before[other]))
            v[name] = gru(getattr(mimn, f"{name}_gru"), np.mean(read, 0), before[name])
    return linear(model.classifier, np.concatenate([v["text"], v["image"]]))


@pytest.mark.parametrize(
    ("hops", "interaction", "reading", "image_memory"),
    list(product([1, 2, 3, 5], INTERACTIONS, READINGS, IMAGE_MEMORIES)),
)
def test_equations(hops, interaction, reading, image_memory):
    reading, scoring = reading
    fields = {"interaction": interaction, "reading": reading, "scoring": scoring, "image_memory": image_memory}
    check_logits(build(hops=hops, **fields), slow_logits, batch(), TOKENS, ASPECT, IMAGES, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- the switches


@pytest.mark.parametrize("reading", ["paper", "official"])
@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_interaction_decides_who_guides_whom(hops, interaction, reading):
    model, inputs = build(hops=hops, interaction=interaction, reading=reading), batch()
    inputs["text_features"] = model.mimn.text_encoder.backbone(inputs.pop("input_ids")).detach().requires_grad_()
    inputs["image_features"].requires_grad_()
    v_text, v_image = model.mimn(**inputs).fused.chunk(2, -1)
    # Only the aspect can guide the first hop.
    assert reaches(v_text, inputs["image_features"]) == (hops > 1 and interaction in ("both", "image2text"))
    assert reaches(v_image, inputs["text_features"]) == (hops > 1 and interaction in ("both", "text2image"))
    assert reaches(v_text, inputs["text_features"])
    assert reaches(v_image, inputs["image_features"])


@pytest.mark.parametrize(
    ("hops", "interaction", "reading", "image_memory"),
    list(product([1, 2, 3], INTERACTIONS, ["paper", "official"], IMAGE_MEMORIES)),
)
def test_every_weight_is_trained(hops, interaction, reading, image_memory):
    """Attentions that a switch leaves out do not exist; neither does a GRU in the paper's reading with one hop."""
    model = build(hops=hops, interaction=interaction, reading=reading, image_memory=image_memory)
    assert untrained(model, batch(), torch.tensor([0, 1, 2, 0])) == []


def test_number_of_weights():
    size = 2 * HIDDEN
    lstms = 2 * 2 * 4 * HIDDEN * (TEXT_SIZE + HIDDEN + 2) + 2 * 4 * HIDDEN * (IMAGE_SIZE + HIDDEN + 2)
    cells = 2 * 3 * size * (2 * size + 2)
    scalar, additive = 2 * size + 1, size * (2 * size + 2)  # w and b on [m; v]; W, b and u
    official = 2 * size**2 + 2 * size + size**2 + size  # W_k and W_q, w, the last linear layer
    crosses = {"both": 2, "text2image": 1, "image2text": 1, "self": 0}
    for interaction, cross in crosses.items():
        for scoring, each in (("scalar", scalar), ("additive", additive)):
            for hops in (1, 2, 5):
                expected = lstms + 2 * each + (hops - 1) * (2 + cross) * each + (cells if hops > 1 else 0)
                model = build(interaction=interaction, scoring=scoring, hops=hops)
                assert count_outside_encoders(model) == expected
        for hops in (1, 5):  # the hops share their weights
            expected = lstms + (2 + cross) * official + cells
            model = build(interaction=interaction, reading="official", hops=hops)
            assert count_outside_encoders(model) == expected


@torch.no_grad()
@pytest.mark.parametrize("image_memory", IMAGE_MEMORIES)
@pytest.mark.parametrize("reading", ["paper", "official"])
def test_attentions_of_every_hop(reading, image_memory):
    model, inputs = build(hops=3, reading=reading, image_memory=image_memory), batch()
    output = model(**inputs)
    check_attentions(output, inputs, REGIONS, (3, 3))
    spread = torch.stack([weights.view(4, 3, REGIONS).std(-1).max() for weights in output.image_attentions])
    assert bool((spread < 1e-7).all()) == (image_memory == "images")  # the regions of an image have equal weights


def test_official_initialization():
    """Matrices start as Xavier's, the projections of attentions as tensors (1, D, D), vectors as in PyTorch."""
    torch.manual_seed(0)
    fields = {"reading": "official", "initialization": "official", "hidden_size": 8}
    sizes = {"lstm": 8, "gru": 16, "output_proj": 16, "score": 16, "classifier": 32}
    model = ARCHITECTURES["mimn"].classifier(small_config("mimn", 24, IMAGE_SIZE, **fields))
    for name, weight in model.named_parameters():
        if "image_encoder" in name:
            continue
        if "key_proj" in name or "query_proj" in name:
            bound = (6 / (16 * 16 + 16)) ** 0.5
        elif weight.ndim > 1 and "score" not in name:
            bound = (6 / sum(weight.shape)) ** 0.5
        else:
            bound = next(size for part, size in sizes.items() if part in name) ** -0.5
        assert (0.2 if weight.numel() < 10 else 0.6) * bound < weight.abs().max() <= bound, name
    assert (model.mimn.text_encoder.backbone.weight[0] == 0).all()


# ---------------------------------------------------------------------------------------------------------- the aspect


@torch.no_grad()
@pytest.mark.parametrize("reading", ["paper", "official"])
def test_an_absent_aspect_is_a_zero_vector(reading):
    model, inputs = build(reading=reading), batch()
    inputs["aspect_attention_mask"] = torch.zeros_like(inputs["aspect_attention_mask"])
    masked = model(**inputs).logits
    del inputs["aspect_input_ids"], inputs["aspect_attention_mask"]
    torch.testing.assert_close(model(**inputs).logits, masked)
    assert masked.isfinite().all()


@torch.no_grad()
def test_one_warning_about_a_batch_without_aspect(caplog):
    type(logger).warning_once.cache_clear()
    model, inputs = build(), batch()
    model(**inputs)  # only one post of four does not have an aspect
    assert not caplog.records
    for _ in range(2):
        model(**{name: value for name, value in inputs.items() if "aspect" not in name})
    assert ["no aspect" in record.getMessage() for record in caplog.records] == [True]


# ---------------------------------------------------------------------------------------------------------- the config


@pytest.mark.parametrize("scores", [(1, 2, 3, 4, 5, 6, 8, 10), tuple(range(1, 11))], ids=len)
def test_eight_classes_or_ten(scores, tmp_path):
    config = MIMNConfig(interaction="self", id2label={index: str(score) for index, score in enumerate(scores)})
    config.save_pretrained(tmp_path)
    loaded = ARCHITECTURES["mimn"].config.from_pretrained(tmp_path)
    # transformers notes how a config was loaded; everything else must be equal
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert loaded.label2id["10"] == len(scores) - 1
    output = build(id2label=config.id2label)(**batch(), labels=torch.tensor([0, 1, 2, len(scores) - 1]))
    assert output.logits.shape == (4, len(scores))
    assert output.loss.isfinite()
