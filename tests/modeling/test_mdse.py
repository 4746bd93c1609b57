"""MDSE against a slow reading of the paper and of its code, its switches, its losses by hand, its size."""

import math

import numpy as np
import pytest
import torch

from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_losses import ratio_contrastive_loss, supervised_contrastive_loss
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.mdse import (
    Block,
    MDSEConfig,
    MDSEForSequenceClassification,
    MDSEModel,
    modality_importance,
)

SIZE, IMAGE_SIZE, REGIONS = 8, 6, 4
OFFICIAL = {"reading": "official", "contrastive_fused": False}


def build(**kwargs) -> MDSEForSequenceClassification:
    torch.manual_seed(0)
    config = MDSEConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        num_attention_heads=2,
        **{"standardize": False, **kwargs},
    )
    model = MDSEForSequenceClassification(config).eval()
    for parameter in model.parameters():  # biases too, which would start at zero
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Cached features of four posts: ragged texts, none in the last; one image, none, two, two."""
    generator = torch.Generator().manual_seed(1)
    return {
        "text_features": torch.randn(4, 5, SIZE, generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
        "image_features": torch.randn(4, 2, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[True, False], [False, False], [True, True], [True, True]]),
    }


# ------------------------------------------------------------------------------------------------------- the equations


def softmax(scores):
    weights = np.exp(scores - np.max(scores))
    return weights / weights.sum()


def linear(layer, x):
    return layer.weight.numpy() @ x + layer.bias.numpy()


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


@torch.no_grad()
def slow_logits(model, text, regions):
    """One post: text (list of token vectors), regions (list of region vectors)."""
    config, base = model.config, model.mdse
    z, v = text, [linear(base.image_proj, region) for region in regions]
    f_v_tokens = block(base.image_to_text, z, v)  # equation 1: as many positions as the text has
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
    return linear(model.classifier, mlp(base.fusion, np.concatenate([f_v, f_z])))


VARIANTS = [
    {},
    {"importance": "paper"},
    {"ipfl": False},
    {"tpfl": False},
    {"ipfl": False, "tpfl": False},
    {"adaptation": False},
    OFFICIAL,
    OFFICIAL | {"ipfl": False},
    OFFICIAL | {"adaptation": False, "importance": "paper"},
]


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equations(variant):
    model, inputs = build(**variant), batch()
    got = model(**inputs).logits
    for row in range(4):
        text = [x.numpy() for x, kept in zip(inputs["text_features"][row], inputs["attention_mask"][row]) if kept]  # noqa: B905
        regions = [
            region.numpy()
            for image, kept in zip(inputs["image_features"][row], inputs["image_mask"][row], strict=True)
            if kept
            for region in image
        ]
        np.testing.assert_allclose(got[row].numpy(), slow_logits(model, text, regions), rtol=1e-3, atol=1e-4)


# -------------------------------------------------------------------------------------------------------- the switches


def test_modules_of_each_variant():
    def blocks(**kwargs):
        return sorted(name for name, module in build(**kwargs).mdse.named_modules() if isinstance(module, Block))

    cross = ["image_to_text", "text_to_image"]
    assert blocks() == [cross[0], "private_blocks.image", "private_blocks.text", cross[1]]
    assert blocks(ipfl=False) == [cross[0], "private_blocks.text", cross[1]]
    assert blocks(tpfl=False) == [cross[0], "private_blocks.image", cross[1]]
    assert blocks(adaptation=False) == blocks(ipfl=False, tpfl=False) == cross
    assert blocks(**OFFICIAL) == [cross[0], "private_blocks.both", "shared_block", cross[1]]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_is_trained(variant):
    model = build(**variant)
    model(**batch(), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    without = [n for n, p in model.named_parameters() if "encoder" not in n and not p.grad.abs().sum()]
    assert without == []


def test_without_private_image_features_there_are_no_importances_of_regions():
    output = build(ipfl=False)(**batch())
    assert output.image_attentions == ()
    assert output.text_attentions[0].shape == (4, 5)
    output = build(tpfl=False)(**batch())
    assert output.text_attentions == ()
    assert output.image_attentions[0].shape == (4, 2 * REGIONS)


def test_private_features_are_of_their_own_modality():
    """f_v's private half changes with the image's importances alone: with weights on one token, that token is gone."""
    model = build(adaptation=False).mdse
    tokens, mask = torch.randn(1, 3, SIZE), torch.ones(1, 3, dtype=torch.bool)
    weights = torch.tensor([[0.0, 1.0, 0.0]])
    private = model._private("image", tokens, mask, weights)
    torch.testing.assert_close(private, tokens[:, [0, 2]].sum(1) / 3)


def test_the_papers_importance_saturates_on_one_token_and_the_scaled_one_does_not():
    """Features of unit variance, 768 wide, 196 regions and 128 tokens: the paper's sizes."""
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


def test_the_official_reading_drops_a_transformers_first_token(backbones):
    import tiny

    processor, model = tiny.build("mdse", "transformers", backbones, **OFFICIAL)
    inputs = dict(processor(text=["good day"], images=[[tiny.picture(0)]]))
    features, _ = model.encode_text(inputs.pop("input_ids"), inputs["attention_mask"], None)
    changed = features.clone()
    changed[:, 0] += 1
    with torch.no_grad():
        one, other = (model(**inputs, text_features=value) for value in (features, changed))
    assert torch.equal(one.logits, other.logits)
    assert one.text_attentions[0][0, 0] == 0


def test_bad_settings():
    with pytest.raises(ValueError, match="hidden_size=8 is not a multiple of num_attention_heads=3"):
        MDSEConfig(text_config=WordVectorsConfig(hidden_size=8), num_attention_heads=3)
    with pytest.raises(ValueError, match="does not have a vector f: set contrastive_fused=False"):
        MDSEConfig(reading="official", num_attention_heads=2)


def test_five_blocks_of_the_papers_size():
    config = MDSEConfig(
        text_config=WordVectorsConfig(vocab_size=2, hidden_size=768),
        image_config=SmallCNNConfig(image_size=4, channels=(4,)),
        num_attention_heads=16,
    )
    assert sum(parameter.numel() for _ in range(5) for parameter in Block(config).parameters()) == 17_733_120
    four = [module for module in MDSEModel(config).modules() if isinstance(module, Block)]
    assert sum(p.numel() for module in four for p in module.parameters()) == 4 * 3_546_624


# ---------------------------------------------------------------------------------------------------------- the losses


def test_supervised_contrastive_loss_by_hand():
    """Three unit vectors at 0°, 60° and 90°, the first two of one label, τ = 0.5."""
    features = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.0, 1.0]]) * torch.tensor([[1.0], [3.0], [0.1]])
    cosines = {(0, 1): 0.5, (0, 2): 0.0, (1, 2): math.sqrt(0.75)}
    share = {pair: math.exp(cosine / 0.5) for pair, cosine in cosines.items()}
    first = -math.log(share[0, 1] / (share[0, 1] + share[0, 2]))
    second = -math.log(share[0, 1] / (share[0, 1] + share[1, 2]))
    loss = supervised_contrastive_loss(features, torch.tensor([1, 1, 0]), 0.5)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)  # the third has none of its label


def test_supervised_contrastive_loss_is_the_mean_over_positives():
    torch.manual_seed(0)
    features, labels = torch.randn(9, 4), torch.tensor([0, 0, 1, 1, 1, 2, 0, 1, 1])
    unit = torch.nn.functional.normalize(features, dim=1)
    terms = []
    for i in range(9):
        positives = [p for p in range(9) if p != i and labels[p] == labels[i]]
        total = sum(math.exp(unit[i] @ unit[a] / 0.07) for a in range(9) if a != i)
        if positives:
            terms.append(
                -sum(math.log(math.exp(unit[i] @ unit[p] / 0.07) / total) for p in positives) / len(positives)
            )
    loss = supervised_contrastive_loss(features, labels, 0.07)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_ratio_contrastive_loss_by_hand():
    """Vectors at 0°, 60°, 180°: C = (1 + cos) / 2 is 0.75, 0 and 0.25; a cosine of -1 is no NaN."""
    features = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)], [-1.0, 0.0]])
    loss = ratio_contrastive_loss(features, torch.tensor([1, 1, 0]))
    assert loss.item() == pytest.approx(-math.log(0.75 / (0.75 + 0.25)), rel=1e-5)


@pytest.mark.parametrize(
    "loss", [lambda f, y: supervised_contrastive_loss(f, y, 0.07), ratio_contrastive_loss], ids=["supcon", "ratio"]
)
def test_losses_are_finite_without_any_pair(loss):
    features = torch.randn(3, 4, requires_grad=True)
    value = loss(features, torch.tensor([0, 1, 2]))
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("contrastive", ["supcon", "paper_ratio"])
def test_loss_draws_one_label_together(contrastive):
    labels = torch.tensor([0, 0, 1, 1])
    losses = {
        "supcon": lambda f: supervised_contrastive_loss(f, labels, 0.07),
        "paper_ratio": lambda f: ratio_contrastive_loss(f, labels),
    }
    apart, together = torch.eye(4), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert losses[contrastive](together) < losses[contrastive](apart)


def test_labels_of_each_modality_are_used():
    labels = torch.tensor([0, 1, 2, 0])
    model = build()
    plain = model(**batch(), labels=labels).loss
    assert torch.equal(model(**batch(), labels=labels, text_labels=labels, image_labels=labels).loss, plain)
    assert model(**batch(), labels=labels, text_labels=labels.flip(0)).loss != plain
    assert model(**batch(), labels=labels, image_labels=labels.flip(0)).loss != plain
    alone = build(contrastive="none")
    expected = torch.nn.functional.cross_entropy(alone(**batch()).logits, labels)
    torch.testing.assert_close(alone(**batch(), labels=labels, text_labels=labels.flip(0)).loss, expected)


def test_members_and_weight_of_the_loss():
    labels = torch.tensor([0, 1, 2, 0])
    loss = {fused: build(contrastive_fused=fused)(**batch(), labels=labels).loss.item() for fused in (True, False)}
    assert loss[True] != loss[False]
    cross_entropy = build(contrastive="none")(**batch(), labels=labels).loss.item()
    half = build(contrastive_weight=0.5)(**batch(), labels=labels).loss.item()
    assert half - cross_entropy == pytest.approx((loss[True] - cross_entropy) / 2, rel=1e-4)
