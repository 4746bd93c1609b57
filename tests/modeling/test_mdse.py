"""MDSE against the paper and its code step by step, its switches, its loss, and its size."""

import math

import numpy as np
import pytest
import tiny
import torch
from by_hand import (
    IMAGES,
    REGIONS,
    TEXT,
    check_logits,
    features,
    linear,
    random_model,
    small_config,
    softmax,
    untrained,
)

from mmsent.modeling.mdse import Block, MDSEForSequenceClassification, MDSEModel, modality_importance

SIZE, IMAGE_SIZE = 8, 6
OFFICIAL = {"reading": "official", "contrastive_fused": False}
PUBLISHED = OFFICIAL | {"pad_to": 5}
LABELS = torch.tensor([0, 1, 2, 0])


def build(**fields) -> MDSEForSequenceClassification:
    return random_model("mdse", SIZE, IMAGE_SIZE, 0.5, num_attention_heads=2, **fields)


def batch() -> dict[str, torch.Tensor]:
    """Return four posts: texts of 5, 3, 1 and no tokens; one image, none, two and two."""
    attention_mask = [[int(place < length) for place in range(5)] for length in (5, 3, 1, 0)]
    return features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [0, 0], [1, 1], [1, 1]])


# ------------------------------------------------------------------------------------------------------- the equations


def norm(layer, x):
    return (x - x.mean()) / math.sqrt(x.var() + layer.eps) * layer.weight.numpy() + layer.bias.numpy()


def gelu(x):
    return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])


def block(module, queries, memory):
    """Attention of every query to the memory, then the feed-forward layer, one position and one head at a time."""
    queries, memory = [norm(module.norm, x) for x in queries], [norm(module.norm, x) for x in memory]
    width, outputs = SIZE // module.heads, []
    for query in queries:
        heads = []
        for head in range(module.heads):
            part = slice(head * width, (head + 1) * width)
            q = linear(module.query, query)[part]
            keys, values = ([linear(layer, m)[part] for m in memory] for layer in (module.key, module.value))
            weights = softmax([q @ key / math.sqrt(width) for key in keys]) if memory else []
            heads.append(sum((w * v for w, v in zip(weights, values, strict=True)), np.zeros(width)))
        hidden = query + linear(module.out, np.concatenate(heads))
        outputs.append(hidden + mlp(module.ff, norm(module.ff_norm, hidden)))
    return outputs


def mlp(module, x):
    first, second = (layer for layer in module if isinstance(layer, torch.nn.Linear))
    return linear(second, gelu(linear(first, x)))


def mean(vectors):
    return sum(vectors, np.zeros(SIZE)) / max(1, len(vectors))


def importance(tokens, cross, mode):
    scores = [sum(x @ f for f in cross) for x in tokens]
    if mode == "scaled":
        scores = [score / (math.sqrt(SIZE) * max(1, len(cross))) for score in scores]
    return softmax(scores) if tokens else []


def slow_logits(model, text, images):
    """Return the logits of one post from its tokens (L, D) and images (K, R, D)."""
    config, base = model.config, model.mdse
    z, v = list(text), [linear(base.image_proj, region) for image in images for region in image]
    f_v_tokens = block(base.image_to_text, z, v)  # equation 1: as many positions as the text
    f_z_tokens = block(base.text_to_image, v, z)
    both = f_v_tokens + f_z_tokens
    if config.reading == "official":
        both = block(base.shared_block, both, both)
    shared = mean(both)

    def private(name, tokens, cross):
        weights = importance(tokens, cross, config.importance)
        scaled = [(1 - w) * x for w, x in zip(weights, tokens, strict=True)]
        if config.adaptation:
            module = base.private_blocks["both" if config.reading == "official" else name]
            scaled = block(module, scaled, scaled)
        return mean(scaled)

    text_parts = [private("text", z, f_z_tokens), shared] if config.tpfl else [shared]
    image_parts = [shared, private("image", v, f_v_tokens)] if config.ipfl else [shared]
    f_z, f_v = mlp(base.text_out, np.concatenate(text_parts)), mlp(base.image_out, np.concatenate(image_parts))
    if config.reading == "official":
        return mlp(model.classifier, np.concatenate([f_v, f_z]))
    f = mlp(base.fusion, np.concatenate([f_v, f_z]))
    return mlp(model.classifier, f) if config.head == "mlp" else linear(model.classifier, f)


VARIANTS = [
    {},
    {"importance": "paper"},
    {"ipfl": False},
    {"tpfl": False},
    {"ipfl": False, "tpfl": False},
    {"adaptation": False},
    {"head": "mlp"},
    OFFICIAL,
    OFFICIAL | {"ipfl": False},
    OFFICIAL | {"adaptation": False, "importance": "paper"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equations(variant):
    check_logits(build(**variant), slow_logits, batch(), TEXT, IMAGES, rtol=1e-3, atol=1e-4)


# -------------------------------------------------------------------------------------------------------- the switches


def test_blocks_of_each_variant():
    def blocks(**fields):
        return sorted(name for name, module in build(**fields).mdse.named_modules() if isinstance(module, Block))

    cross = ["image_to_text", "text_to_image"]
    assert blocks() == [cross[0], "private_blocks.image", "private_blocks.text", cross[1]]
    assert blocks(ipfl=False) == [cross[0], "private_blocks.text", cross[1]]
    assert blocks(tpfl=False) == [cross[0], "private_blocks.image", cross[1]]
    assert blocks(adaptation=False) == blocks(ipfl=False, tpfl=False) == cross
    assert blocks(**OFFICIAL) == [cross[0], "private_blocks.both", "shared_block", cross[1]]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_is_trained(variant):
    assert untrained(build(**variant), batch(), LABELS) == []


def test_importances_exist_only_for_private_features():
    output = build(ipfl=False)(**batch())
    assert output.image_attentions == ()
    assert output.text_attentions[0].shape == (4, 5)
    output = build(tpfl=False)(**batch())
    assert output.text_attentions == ()
    assert output.image_attentions[0].shape == (4, 2 * REGIONS)


def test_the_papers_importance_selects_one_token_and_the_scaled_one_does_not():
    """Features of unit variance with the paper's sizes: width 768, 196 regions and 128 tokens."""
    torch.manual_seed(0)
    regions, cross = torch.randn(16, 196, 768), torch.randn(16, 128, 768)
    masks = torch.ones(16, 196, dtype=torch.bool), torch.ones(16, 128, dtype=torch.bool)
    paper = modality_importance(regions, masks[0], cross, masks[1], "paper")
    assert paper.max(1).values.median() > 0.999
    assert (1 / paper.square().sum(1)).median() < 1.01  # the effective number of tokens
    scaled = modality_importance(regions, masks[0], cross, masks[1], "scaled")
    assert scaled.max() < 0.05
    assert (1 / scaled.square().sum(1)).min() > 150
    assert (scaled.argmax(1) == paper.argmax(1)).all()


def test_the_official_reading_drops_the_first_token_of_a_transformer(backbones):
    processor, model = tiny.build("mdse", "transformers", backbones, **OFFICIAL)
    inputs = dict(processor(text=["good day"], images=[[tiny.picture(0)]]))
    tokens, _ = model.encode_text(inputs.pop("input_ids"), inputs["attention_mask"], None)
    changed = tokens.clone()
    changed[:, 0] += 1
    with torch.no_grad():
        one, other = (model(**inputs, text_features=value) for value in (tokens, changed))
    assert torch.equal(one.logits, other.logits)
    assert one.text_attentions[0][0, 0] == 0


def test_what_a_block_attends_to_is_dropped_in_the_published_model_only():
    blocks = [module for module in build(**PUBLISHED).modules() if isinstance(module, Block)]
    assert [block.dropout.p for block in blocks] == [0.1] * 4
    assert not any(
        isinstance(module.dropout, torch.nn.Dropout) for module in build().modules() if type(module) is Block
    )


@pytest.mark.parametrize(("fields", "mode"), [({}, False), (OFFICIAL, False), (PUBLISHED, True)], ids=str)
def test_a_text_encoder_that_rests_keeps_its_dropout_in_the_published_model(fields, mode):
    model = build(**fields)
    model.resting = ("text", "image")
    encoders = [model.train().mdse.text_encoder, model.mdse.image_encoder]
    assert [encoder.training for encoder in encoders] == [mode, False]
    assert not model.eval().mdse.text_encoder.training
    model.config.freeze_text = True
    assert not model.train().mdse.text_encoder.training


def test_blocks_of_the_papers_size():
    config = small_config("mdse", 768, 4, num_attention_heads=16)
    blocks = [module for module in MDSEModel(config).modules() if isinstance(module, Block)]
    assert [sum(p.numel() for p in block.parameters()) for block in blocks] == [3_546_624] * 4


# ------------------------------------------------------------------------------------------------------------ the loss


def test_the_loss_uses_the_labels_of_each_modality():
    model = build()
    plain = model(**batch(), labels=LABELS).loss
    assert torch.equal(model(**batch(), labels=LABELS, text_labels=LABELS, image_labels=LABELS).loss, plain)
    assert model(**batch(), labels=LABELS, text_labels=LABELS.flip(0)).loss != plain
    assert model(**batch(), labels=LABELS, image_labels=LABELS.flip(0)).loss != plain
    alone = build(contrastive="none")
    expected = torch.nn.functional.cross_entropy(alone(**batch()).logits, LABELS)
    torch.testing.assert_close(alone(**batch(), labels=LABELS, text_labels=LABELS.flip(0)).loss, expected)


def test_all_views_have_the_label_of_the_post_in_the_published_model():
    loss = [
        build(**fields)(**batch(), labels=LABELS, text_labels=LABELS.flip(0), image_labels=own).loss
        for fields in (OFFICIAL, PUBLISHED)
        for own in (LABELS, LABELS.flip(0))
    ]
    assert loss[0] != loss[1]
    assert loss[2] == loss[3]


def test_vectors_and_weight_of_the_contrastive_loss():
    loss = {fused: build(contrastive_fused=fused)(**batch(), labels=LABELS).loss.item() for fused in (True, False)}
    assert loss[True] != loss[False]
    cross_entropy = build(contrastive="none")(**batch(), labels=LABELS).loss.item()
    half = build(contrastive_weight=0.5)(**batch(), labels=LABELS).loss.item()
    assert half - cross_entropy == pytest.approx((loss[True] - cross_entropy) / 2, rel=1e-4)
