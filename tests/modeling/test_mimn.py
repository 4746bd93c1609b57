"""The equations of the multi-interactive memory network, in both readings, against slow ones, and what each switch
changes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import yaml

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_base import logger
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.mimn import MIMNConfig, MIMNForSequenceClassification, MIMNModel

INTERACTIONS = ["both", "text2image", "image2text", "self"]
READINGS = [("paper", "scalar"), ("paper", "additive"), ("official", "additive")]
IMAGE_MEMORIES = ["images", "regions"]
WORDS, TEXT_SIZE, IMAGE_SIZE, REGIONS, HIDDEN = 9, 5, 6, 4, 3


def build(**kwargs) -> MIMNForSequenceClassification:
    torch.manual_seed(0)
    config = MIMNConfig(
        text_config=WordVectorsConfig(vocab_size=WORDS, hidden_size=TEXT_SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        hidden_size=HIDDEN,
        **{"standardize": False, **kwargs},
    )
    model = MIMNForSequenceClassification(config).eval()
    for parameter in model.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Four posts, images as cached features: ragged texts, none in the third; one image, none, two (the middle slot is
    empty) and three; aspects of two words, one, three, and none."""
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(1, WORDS, (4, 5), generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]),
        "aspect_input_ids": torch.randint(1, WORDS, (4, 3), generator=generator),
        "aspect_attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]),
        "image_features": torch.randn(4, 3, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]]).bool(),
    }


# ------------------------------------------------------------------------------------------------------- the equations


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy(parameter):
    return parameter.detach().numpy()


def lstm(layer, sequence):
    """One direction over the steps of a sequence; PyTorch's gates are input, forget, cell, output."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_x, w_h, b_x, b_h = (numpy(getattr(layer, name)) for name in names)
    h, c, states = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for x in sequence:
        i, f, g, o = np.split(w_x @ x + b_x + w_h @ h + b_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def bilstm(layer, sequence):
    forward, backward = lstm(layer.forward_lstm, sequence), lstm(layer.backward_lstm, sequence[::-1])[::-1]
    return [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]


def gru(cell, x, h):
    """h' = (1 - z) n + z h, with n = tanh(W x + b + r (U h + c))."""
    w_x, w_h, b_x, b_h = (numpy(getattr(cell, name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    (rx, zx, nx), (rh, zh, nh) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + r * nh) + z * h


def softmax(scores):
    weights = np.exp(np.array(scores) - max(scores))
    return weights / weights.sum()


def guided(attention, scoring, memory, guide):
    """tanh(w [m_i; v] + b), or u · tanh(W [m_i; v] + b): softmax, sum of the memory."""
    if not memory:
        return np.zeros(2 * HIDDEN)
    weight = np.concatenate([numpy(attention.memory_proj.weight), numpy(attention.guide_proj.weight)], 1)
    hidden = [np.tanh(weight @ np.concatenate([m, guide]) + numpy(attention.memory_proj.bias)) for m in memory]
    scores = [h[0] if scoring == "scalar" else numpy(attention.score.weight)[0] @ h for h in hidden]
    return sum(a * m for a, m in zip(softmax(scores), memory, strict=True))


def projected(attention, memory, guide):
    """tanh(w · [W_k m_i; W_q v]): softmax, sum of the keys, a last linear layer."""
    keys = [numpy(attention.key_proj.weight) @ m for m in memory]
    query = numpy(attention.query_proj.weight) @ guide
    scores = [np.tanh(numpy(attention.score.weight)[0] @ np.concatenate([key, query])) for key in keys]
    total = sum(a * key for a, key in zip(softmax(scores), keys, strict=True)) if keys else np.zeros(2 * HIDDEN)
    return numpy(attention.output_proj.weight) @ total + numpy(attention.output_proj.bias)


def literal(model, words, aspect_words, images) -> np.ndarray:
    """The logits of one post from its unpadded parts."""
    config, mimn = model.config, model.mimn
    table = numpy(mimn.text_encoder.backbone.weight)
    slots = [np.mean(image, 0) for image in images]
    if config.image_memory == "regions":
        slots = [region for image in images for region in image]
    memory = {
        "text": bilstm(mimn.text_lstm, [table[word] for word in words]),
        "image": bilstm(mimn.image_lstm, slots),
    }
    aspect = bilstm(mimn.aspect_lstm, [table[word] for word in aspect_words])
    v_aspect = np.mean(aspect, 0) if aspect else np.zeros(2 * HIDDEN)
    hops = {"text": mimn.text_hops, "image": mimn.image_hops}
    cells = {"text": "text_gru", "image": "image_gru"}
    guided_by_other = {"text": ("both", "image2text"), "image": ("both", "text2image")}

    def attend(attention, slots, guide):
        if config.reading == "official":
            return projected(attention, slots, guide)
        return guided(attention, config.scoring, slots, guide)

    v = {"text": v_aspect, "image": v_aspect}
    interactive = range(config.hops)
    if config.reading == "paper":
        first = {"text": mimn.text_first, "image": mimn.image_first}
        v = {name: attend(first[name], memory[name], v_aspect) for name in v}
        interactive = range(1, config.hops)
    for hop in interactive:
        before = dict(v)
        for name, other in (("text", "image"), ("image", "text")):
            interaction = hops[name][0 if config.reading == "official" else hop - 1]
            read = [attend(interaction.own, memory[name], before[name])]
            if config.interaction in guided_by_other[name]:
                read.append(attend(interaction.cross, memory[name], before[other]))
            v[name] = gru(getattr(mimn, cells[name]), np.mean(read, 0), before[name])
    return numpy(model.classifier.weight) @ np.concatenate([v["text"], v["image"]]) + numpy(model.classifier.bias)


@torch.no_grad()
@pytest.mark.parametrize(
    ("hops", "interaction", "reading", "image_memory"),
    list(product([1, 2, 3, 5], INTERACTIONS, READINGS, IMAGE_MEMORIES)),
)
def test_the_equations(hops, interaction, reading, image_memory):
    reading, scoring = reading
    model, inputs = build(hops=hops, interaction=interaction, reading=reading, scoring=scoring), batch()
    model.config.image_memory = image_memory
    logits = model(**inputs).logits
    for post in range(4):
        words = inputs["input_ids"][post][inputs["attention_mask"][post].bool()].tolist()
        aspect = inputs["aspect_input_ids"][post][inputs["aspect_attention_mask"][post].bool()].tolist()
        images = list(inputs["image_features"][post][inputs["image_mask"][post]].numpy())  # (K, R, D)
        np.testing.assert_allclose(logits[post].numpy(), literal(model, words, aspect, images), atol=1e-5)


# -------------------------------------------------------------------------------------------------------- the switches


def reaches(vector: torch.Tensor, source: torch.Tensor) -> bool:
    """Whether the vector changes with the source."""
    (grad,) = torch.autograd.grad(vector.sum(), source, allow_unused=True, retain_graph=True)
    return grad is not None and bool(grad.abs().sum() > 0)


@pytest.mark.parametrize("reading", ["paper", "official"])
@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_interaction_says_who_guides_whom(hops, interaction, reading):
    model, inputs = build(hops=hops, interaction=interaction, reading=reading), batch()
    inputs["text_features"] = model.mimn.text_encoder.backbone(inputs.pop("input_ids")).detach().requires_grad_()
    inputs["image_features"].requires_grad_()
    v_text, v_image = model.mimn(**inputs).fused.chunk(2, -1)
    # In a first hop there is nothing yet to be guided by but the aspect.
    assert reaches(v_text, inputs["image_features"]) == (hops > 1 and interaction in ("both", "image2text"))
    assert reaches(v_image, inputs["text_features"]) == (hops > 1 and interaction in ("both", "text2image"))
    assert reaches(v_text, inputs["text_features"])
    assert reaches(v_image, inputs["image_features"])


@pytest.mark.parametrize(
    ("hops", "interaction", "reading", "image_memory"),
    list(product([1, 2, 3], INTERACTIONS, ["paper", "official"], IMAGE_MEMORIES)),
)
def test_every_weight_is_trained(hops, interaction, reading, image_memory):
    """Attentions that a switch leaves out do not exist, and in one hop of the paper no GRU either."""
    kwargs = {"interaction": interaction, "reading": reading, "image_memory": image_memory}
    model = build(hops=hops, dropout=0.0, **kwargs).train()
    inputs = {name: value for name, value in batch().items() if name != "image_features"}
    inputs["pixel_values"] = torch.randn(4, 3, 3, 4, 4)
    model(**inputs, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_weights_are_as_many_as_the_equations_have():
    size = 2 * HIDDEN
    lstms = 2 * 2 * 4 * HIDDEN * (TEXT_SIZE + HIDDEN + 2) + 2 * 4 * HIDDEN * (IMAGE_SIZE + HIDDEN + 2)
    cells = 2 * 3 * size * (2 * size + 2)
    scalar, additive = 2 * size + 1, size * (2 * size + 2)  # w and b on [m; v]; W, b and u
    official = 2 * size**2 + 2 * size + size**2 + size  # W_k and W_q, w, the last linear layer
    crosses = {"both": 2, "text2image": 1, "image2text": 1, "self": 0}

    def count(**kwargs) -> int:
        mimn = build(**kwargs).mimn
        return sum(p.numel() for name, p in mimn.named_parameters() if "encoder" not in name)

    for interaction, cross in crosses.items():
        for scoring, each in (("scalar", scalar), ("additive", additive)):
            for hops in (1, 2, 5):
                want = lstms + 2 * each + (hops - 1) * (2 + cross) * each + (cells if hops > 1 else 0)
                assert count(interaction=interaction, scoring=scoring, hops=hops) == want
        for hops in (1, 5):  # shared by the hops
            want = lstms + (2 + cross) * official + cells
            assert count(interaction=interaction, reading="official", hops=hops) == want


@torch.no_grad()
@pytest.mark.parametrize("image_memory", IMAGE_MEMORIES)
@pytest.mark.parametrize("reading", ["paper", "official"])
def test_the_attention_of_every_hop(reading, image_memory):
    model, inputs = build(hops=3, reading=reading, image_memory=image_memory), batch()
    output = model(**inputs)
    slot_mask = inputs["image_mask"].repeat_interleave(REGIONS, 1)
    for attentions, mask in ((output.text_attentions, inputs["attention_mask"]), (output.image_attentions, slot_mask)):
        assert len(attentions) == 3
        for weights in attentions:
            assert weights.shape == mask.shape
            assert (weights[mask == 0] == 0).all()
            torch.testing.assert_close(weights.sum(1), mask.any(1).float())
    spread = torch.stack([weights.view(4, 3, REGIONS).std(-1).max() for weights in output.image_attentions])
    assert bool((spread < 1e-7).all()) == (image_memory == "images")  # an image's weight, even over its regions


# ---------------------------------------------------------------------------------------------------------- the aspect


@torch.no_grad()
@pytest.mark.parametrize(("reading", "scoring"), READINGS)
def test_two_aspects_of_one_post_are_two_questions(reading, scoring, backbones):
    processor, model = tiny.build("mimn", "own", backbones, reading=reading, scoring=scoring, hops=1)
    post = {"text": ["the coffee was good not the cafe"] * 2, "images": [[tiny.picture(0), tiny.picture(1)]] * 2}
    coffee, cafe = model(**processor(**post, aspect=["coffee", "cafe"])).logits
    assert (coffee - cafe).abs().max() > 1e-4


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
def test_a_whole_batch_without_aspect_is_said_once(caplog):
    type(logger).warning_once.cache_clear()
    model, inputs = build(), batch()
    model(**inputs)  # one post of four has none: nothing to say
    assert not caplog.records
    for _ in range(2):
        model(**{name: value for name, value in inputs.items() if "aspect" not in name})
    assert ["no aspect" in record.getMessage() for record in caplog.records] == [True]


# ---------------------------------------------------------------------------------------------------------- the config


def test_the_base_model_fuses_both_vectors():
    output = build().base_model(**batch())
    assert isinstance(build().base_model, MIMNModel)
    assert output.logits is None
    assert output.fused.shape == (4, 4 * HIDDEN)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hops": 0}, "at least one hop"),
        ({"interaction": "sideways"}, "sideways"),
        ({"reading": "mine"}, "mine"),
        ({"image_memory": "pixels"}, "pixels"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(Exception, match=message):
        MIMNConfig(**kwargs)


@pytest.mark.parametrize("scores", [(1, 2, 3, 4, 5, 6, 8, 10), tuple(range(1, 11))], ids=len)
def test_eight_classes_or_ten(scores, tmp_path):
    config = MIMNConfig(interaction="self", id2label={index: str(score) for index, score in enumerate(scores)})
    config.save_pretrained(tmp_path)
    loaded = ARCHITECTURES["mimn"].config.from_pretrained(tmp_path)
    # transformers notes how a config was loaded; nothing else may differ
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert loaded.label2id["10"] == len(scores) - 1
    output = build(id2label=config.id2label)(**batch(), labels=torch.tensor([0, 1, 2, len(scores) - 1]))
    assert output.logits.shape == (4, len(scores))
    assert output.loss.isfinite()


def test_images_beyond_the_fifth_are_left_out(backbones):
    processor, model = tiny.build("mimn", "own", backbones)
    processor.max_images = ARCHITECTURES["mimn"].processor.default_max_images
    pictures = [tiny.picture(slot) for slot in range(7)]
    seven, five = (processor(text="good", images=pictures[:count], aspect="coffee") for count in (7, 5))
    assert seven["pixel_values"].shape[1] == 5
    assert torch.equal(seven["pixel_values"], five["pixel_values"])


def test_the_paper_has_one_recipe_a_row():
    recipes = Path(__file__).parents[2].glob("configs/multi_zol/mimn_*.yaml")
    settings = {path.stem: yaml.safe_load(path.read_text())["model_kwargs"] for path in recipes}
    rows = {name: (kwargs["hops"], kwargs["interaction"]) for name, kwargs in settings.items()}
    ablation = {f"mimn_{interaction}": (3, interaction) for interaction in INTERACTIONS if interaction != "both"}
    assert rows == {f"mimn_hop{hops}": (hops, "both") for hops in range(1, 6)} | ablation
