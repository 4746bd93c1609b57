"""The equations of the co-memory network against a slow reading of the paper, and what each switch changes."""

from itertools import product

import numpy as np
import pytest
import tiny
import torch

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.comn import CoMNConfig, CoMNForSequenceClassification, CoMNModel

CROSS = ["both", "text2image", "image2text", "none"]
SCORING = ["scalar", "additive"]
TEXT_SIZE, IMAGE_SIZE, REGIONS = 5, 6, 4


def build(**kwargs) -> CoMNForSequenceClassification:
    torch.manual_seed(0)
    config = CoMNConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=TEXT_SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        **{"standardize": False, **kwargs},
    )
    model = CoMNForSequenceClassification(config).eval()
    for parameter in model.parameters():  # biases too, which would start at zero
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Cached features of three posts: ragged texts, two image slots of which one, none and both are filled."""
    generator = torch.Generator().manual_seed(1)
    return {
        "text_features": torch.randn(3, 4, TEXT_SIZE, generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]),
        "image_features": torch.randn(3, 2, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[True, False], [False, False], [True, True]]),
    }


# ------------------------------------------------------------------------------------------------------- the equations


def softmax(scores):
    weights = np.exp(scores - max(scores))
    return weights / weights.sum()


def first_hop(hop, memory):
    """h_i = tanh(W m_i + b); weights softmax(h_i · q); v = sum of weights times m_i (equations 1 to 6)."""
    weight, bias, query = (value.numpy() for value in (hop.memory_proj.weight, hop.memory_proj.bias, hop.query))
    return softmax(np.array([np.tanh(weight @ slot + bias) @ query for slot in memory]))


def guided_hop(hop, scoring, memory, guide):
    """score_i = tanh(w [m_i; v] + b), or u · tanh(W [m_i; v] + b), on the concatenated vector (equations 7 to 14)."""
    weight = np.concatenate([hop.memory_proj.weight.numpy(), hop.guide_proj.weight.numpy()], 1)
    bias = hop.memory_proj.bias.numpy()
    scores = []
    for slot in memory:
        hidden = np.tanh(weight @ np.concatenate([slot, guide]) + bias)
        scores.append(hidden[0] if scoring == "scalar" else hop.score.weight.numpy()[0] @ hidden)
    return softmax(np.array(scores))


def literal(model, text_memory, image_memory) -> np.ndarray:
    """The logits of one post from its unpadded memories, hop by hop."""
    config = model.config

    def step(hops, hop, memory, size, guide):
        index = hop - (config.hops - len(hops))
        if index < 0:
            return None
        if len(memory) == 0:
            return np.zeros(size)
        is_first = len(hops) == config.hops and index == 0
        weights = first_hop(hops[0], memory) if is_first else guided_hop(hops[index], config.scoring, memory, guide)
        return sum(weight * slot for weight, slot in zip(weights, memory, strict=True))

    v_text = v_image = None
    for hop in range(config.hops):
        text_guide = v_image if config.cross in ("both", "image2text") else v_text
        image_guide = v_text if config.cross in ("both", "text2image") else v_image
        v_text, v_image = (
            step(model.comn.text_hops, hop, text_memory, TEXT_SIZE, text_guide),
            step(model.comn.image_hops, hop, image_memory, config.visual_memory_size, image_guide),
        )
    weight, bias = model.classifier.weight.numpy(), model.classifier.bias.numpy()
    return weight @ np.concatenate([v_text, v_image]) + bias


@torch.no_grad()
@pytest.mark.parametrize(
    ("hops", "cross", "scoring", "visual_memory"),
    list(product([1, 2, 3, 4], CROSS, SCORING, ["regions", "channels"])),
)
def test_the_equations(hops, cross, scoring, visual_memory):
    model, inputs = build(hops=hops, cross=cross, scoring=scoring, visual_memory=visual_memory), batch()
    logits = model(**inputs).logits
    for post in range(3):
        text = inputs["text_features"][post][inputs["attention_mask"][post].bool()].numpy()
        images = inputs["image_features"][post][inputs["image_mask"][post]].numpy()  # (K, R, D)
        if visual_memory == "channels":
            images = images.transpose(0, 2, 1)  # (K, D, R)
        slots = images.reshape(-1, images.shape[-1])
        np.testing.assert_allclose(logits[post].numpy(), literal(model, text, slots), atol=1e-5)


# -------------------------------------------------------------------------------------------------------- the switches


def reaches(attentions: tuple[torch.Tensor, ...], source: torch.Tensor) -> bool:
    """Whether the last attention changes with the source."""
    loss = (attentions[-1] * torch.arange(attentions[-1].shape[-1])).sum()
    (grad,) = torch.autograd.grad(loss, source, allow_unused=True, retain_graph=True)
    return grad is not None and bool(grad.abs().sum() > 0)


@pytest.mark.parametrize("scoring", SCORING)
@pytest.mark.parametrize("cross", CROSS)
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_cross_says_who_guides_whom(hops, cross, scoring):
    model, inputs = build(hops=hops, cross=cross, scoring=scoring), batch()
    text, images = inputs["text_features"].requires_grad_(), inputs["image_features"].requires_grad_()
    output = model(**inputs)
    assert reaches(output.image_attentions, text) == (hops > 1 and cross in ("both", "text2image"))
    assert reaches(output.text_attentions, images) == (hops > 1 and cross in ("both", "image2text"))
    assert reaches(output.text_attentions, text)
    assert reaches(output.image_attentions, images)


@torch.no_grad()
@pytest.mark.parametrize("visual_memory", ["regions", "channels"])
@pytest.mark.parametrize("cross", CROSS)
def test_the_attention_of_every_hop(cross, visual_memory):
    model, inputs = build(hops=3, cross=cross, visual_memory=visual_memory), batch()
    output = model(**inputs)
    assert len(output.text_attentions) == (1 if cross == "image2text" else 3)
    assert len(output.image_attentions) == (1 if cross == "text2image" else 3)
    slots = 2 * (IMAGE_SIZE if visual_memory == "channels" else REGIONS)
    slot_mask = inputs["image_mask"].repeat_interleave(slots // 2, 1)
    for attentions, mask in ((output.text_attentions, inputs["attention_mask"]), (output.image_attentions, slot_mask)):
        for weights in attentions:
            assert weights.shape == mask.shape
            assert (weights[mask == 0] == 0).all()
            torch.testing.assert_close(weights.sum(1), mask.any(1).float())


def test_weights_are_as_many_as_the_equations_have():
    first = TEXT_SIZE**2 + 2 * TEXT_SIZE + IMAGE_SIZE**2 + 2 * IMAGE_SIZE  # W, b and q of each tower
    both = TEXT_SIZE + IMAGE_SIZE
    scalar = 2 * (both + 1)  # w and b on [m; v], each tower
    additive = TEXT_SIZE * (both + 2) + IMAGE_SIZE * (both + 2)  # W, b, u
    for scoring, later in (("scalar", scalar), ("additive", additive)):
        for hops in (1, 2, 6):
            comn = build(hops=hops, scoring=scoring).comn
            count = sum(p.numel() for name, p in comn.named_parameters() if "encoder" not in name)
            assert count == first + (hops - 1) * later


def test_there_are_no_weights_that_nobody_reads():
    image_towers = {cross: len(build(hops=3, cross=cross).comn.image_hops) for cross in CROSS}
    text_towers = {cross: len(build(hops=3, cross=cross).comn.text_hops) for cross in CROSS}
    assert image_towers == {"both": 3, "text2image": 1, "image2text": 3, "none": 3}
    assert text_towers == {"both": 3, "text2image": 3, "image2text": 1, "none": 3}


# ---------------------------------------------------------------------------------------------------------- the config


def test_the_base_model_fuses_both_vectors():
    model, inputs = build(), batch()
    output = model.comn(**inputs)
    assert isinstance(model.base_model, CoMNModel)
    assert output.logits is None
    assert output.fused.shape == (3, TEXT_SIZE + IMAGE_SIZE)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"hops": 0}, "at least one hop"), ({"cross": "sideways"}, "sideways"), ({"hops": "two"}, "hops")],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(Exception, match=message):
        CoMNConfig(**kwargs)


def test_an_unknown_field_is_named(backbones):
    with pytest.raises(ValueError, match="CoMNConfig has no field hopps; it has aspects, cross, dropout, .*hops"):
        tiny.build("comn", "own", backbones, hopps=2)


def test_a_config_survives_json(tmp_path):
    config = CoMNConfig(hops=4, cross="none", id2label={0: "bad", 1: "good"})
    config.save_pretrained(tmp_path)
    loaded = ARCHITECTURES["comn"].config.from_pretrained(tmp_path)
    # transformers notes how a config was loaded; nothing else may differ
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert loaded.num_labels == 2
    assert loaded.label2id == {"bad": 0, "good": 1}
