"""The MVSO study's classifiers against the paper step by step, their gates, branches and sizes."""

import math

import numpy as np
import pytest
import tiny
import torch
from by_hand import IMAGES, TEXT, bilstm, features, linear, random_model, small_config, unpadded, untrained

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import RawCNN, RawCNNConfig
from mmsent.modeling.gated_fusion import (
    Gate,
    GatedFusionConfig,
    GatedFusionForSequenceClassification,
    GatedFusionModel,
    last_states,
)
from mmsent.training.recipes import select_row

SIZE, IMAGE_SIZE, HIDDEN = 5, 6, 3
LABELS = torch.tensor([0, 1, 2, 0])
SMALL = {"text_hidden": HIDDEN, "image_hidden": (4,), "fused_hidden": (), "label_embedding_size": 7}


def config(**fields) -> GatedFusionConfig:
    return small_config("gated_fusion", SIZE, IMAGE_SIZE, **SMALL | fields)


def build(**fields) -> GatedFusionForSequenceClassification:
    return random_model("gated_fusion", SIZE, IMAGE_SIZE, 1.0, **SMALL | fields)


def batch() -> dict[str, torch.Tensor]:
    """Return four posts: texts of 5, 3, 1 (not at the beginning) and no tokens; one image, none, two and two."""
    attention_mask = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    return features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [0, 0], [1, 1], [1, 1]])


# ------------------------------------------------------------------------------------------------------- the equations


def slow_image(model, images):
    """Return the image vector of a post: pooled regions, the mean over its images, and the dense layers."""
    cfg = model.config
    if not len(images):
        return np.zeros(cfg.image_sizes[-1])
    pooled = [np.mean(image, 0) if cfg.image_pooling == "mean" else np.concatenate(image) for image in images]
    x = sum(pooled) / len(pooled)
    x = np.maximum(x, 0) if cfg.image_relu else x
    for layer in model.gated_fusion.image_layers:
        if isinstance(layer, torch.nn.Linear):
            x = np.maximum(linear(layer, x), 0)
    return x


def slow_output(model, words, images):
    """Return the logits and the label embedding of one post from its tokens (L, D) and images (K, R, D)."""
    cfg, base, vectors = model.config, model.gated_fusion, {}
    if cfg.branch != "image":
        states = bilstm(base.lstm, words)  # the final state of each direction: the last forwards, the first backwards
        ends = [states[-1][:HIDDEN], states[0][HIDDEN:]] if states else [np.zeros(2 * HIDDEN)]
        vectors["text"] = np.concatenate(ends)
    if cfg.branch != "text":
        vectors["image"] = slow_image(model, images)
    if cfg.branch == "both" and cfg.fusion == "gated":
        for name, kind in (("text", cfg.text_gate), ("image", cfg.image_gate)):
            gate = getattr(base, f"{name}_gate").weight.numpy()
            vectors[name] = vectors[name] * (gate if kind == "GL1" else np.clip(gate, 0, 1))
    fused = np.concatenate(list(vectors.values()))
    for layer in model.fused_layers:
        if isinstance(layer, torch.nn.Linear):
            fused = np.maximum(linear(layer, fused), 0)
    if cfg.head == "classes":
        return linear(model.classifier, fused), None
    p = linear(model.classifier.projection, fused)
    return np.array([p @ t / math.sqrt(p @ p) / math.sqrt(t @ t) for t in model.classifier.labels.numpy()]), p


VARIANTS = [
    {},
    {"text_gate": "GL2", "image_gate": "GL1"},
    {"image_hidden": ()},
    {"fusion": "concat"},
    {"fused_hidden": (6, 5)},
    {"fused_hidden": (6,), "head": "label_embedding", "loss": "mse"},
    {"fusion": "concat", "image_hidden": (), "image_pooling": "flatten"},
    {"branch": "text"},
    {"branch": "image", "image_relu": True, "image_hidden": (8, 4, 3), "image_dropout": (0.7, 0.7, 0.5)},
    {"branch": "image", "image_pooling": "flatten"},
    {"branch": "text", "head": "label_embedding", "loss": "hinge"},
    {"branch": "image", "head": "label_embedding", "loss": "cosine"},
    {"head": "label_embedding", "loss": "mse"},
    {"head": "label_embedding", "loss": "rank_hinge", "label_embedding": "learned"},
]


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equations(variant):
    model, inputs = build(**variant), batch()
    output = model(**inputs)
    for post in range(4):
        logits, embedding = slow_output(model, *unpadded(inputs, post, TEXT, IMAGES))
        np.testing.assert_allclose(output.logits[post].numpy(), logits, rtol=1e-4, atol=1e-5)
        if embedding is not None:
            np.testing.assert_allclose(output.embedding[post].numpy(), embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_is_trained(variant):
    assert untrained(build(**variant), batch(), LABELS) == []


def test_last_states_of_a_mask_with_holes():
    """Positions 1 and 3 of four are read: the last is 3 in the forward direction and 1 in the backward direction."""
    states = torch.arange(8.0).reshape(1, 4, 2)  # H = 1
    assert last_states(states, torch.tensor([[False, True, False, True]])).tolist() == [[6.0, 3.0]]


# ----------------------------------------------------------------------------------------------------------- the gates


@pytest.mark.parametrize("kind", ["GL1", "GL2"])
def test_a_gate_follows_the_projected_steps_of_keras(kind):
    """w <- w - lr · gradient, clipped to [0, 1] only in GL2, with a gradient that changes its sign."""
    gate, expected = Gate(1, kind), 1.0
    torch.nn.init.ones_(gate.weight)
    optimizer = torch.optim.SGD(gate.parameters(), lr=1.0)
    for slope in (0.7, 0.7, -0.2, -0.9, 0.5, -1.5):
        gate.train()(torch.tensor([[slope]]))[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        expected -= slope
        if kind == "GL2":
            expected = min(max(expected, 0.0), 1.0)
        vector, weights = gate.eval()(torch.ones(1, 1))
        assert vector.item() == weights.item() == pytest.approx(expected)


def test_gates_start_open():
    output = GatedFusionModel(config()).eval()(**batch())
    assert torch.equal(output.text_gate, torch.ones(2 * HIDDEN))
    assert torch.equal(output.image_gate, torch.ones(4))
    for variant in ({"fusion": "concat"}, {"branch": "text"}, {"branch": "image"}):
        other = GatedFusionModel(config(**variant))
        assert not [module for module in other.modules() if isinstance(module, Gate)]
        assert other(**batch()).text_gate is None


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_the_papers_scores_are_a_sum_over_the_modalities(fusion):
    """Two texts with two images each: the effect of the image does not depend on the text, unless layers follow."""

    def interaction(**fields):
        inputs = batch()
        texts, images = inputs["text_features"][[0, 0, 1, 1]], inputs["image_features"][[2, 3, 2, 3]]
        scores = build(fusion=fusion, **fields)(text_features=texts, image_features=images).logits
        return (scores[0] - scores[1] - scores[2] + scores[3]).abs().max()

    assert interaction() < 1e-4
    assert interaction(fused_hidden=(8,)) > 1e-2


# ----------------------------------------------------------------------------------------------------------- the sizes


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def published(name: str, row: str, **encoders) -> GatedFusionForSequenceClassification:
    """Return the model of a row of a recipe for two classes, with tiny encoders."""
    recipe = select_row(tiny.ROOT / f"configs/mvso/gated_fusion_{name}.yaml", row)
    assert recipe["architecture"] == "gated_fusion"
    fields = GatedFusionConfig(**recipe["model_kwargs"], id2label={0: "a", 1: "b"}, **encoders)
    return ARCHITECTURES["gated_fusion"].classifier(fields)


def test_parameters_of_the_image_classifier():
    """Dense layers of 2048, 1024 and 512 and softmax over two classes, on the 4,096 numbers of AlexNet."""
    model = published("image", "table2_model2", image_hidden_size=4096)
    dense = 4096 * 2048 + 2048 + 2048 * 1024 + 1024 + 1024 * 512 + 512
    assert count(model.gated_fusion.image_layers) == dense == 11_013_632
    assert count(model.classifier) == 512 * 2 + 2
    layers = [type(layer).__name__ for layer in model.gated_fusion.image_layers]
    assert layers == ["ReLU", *["Linear", "ReLU", "Dropout"] * 3]
    assert [layer.p for layer in model.gated_fusion.image_layers if hasattr(layer, "p")] == [0.7, 0.7, 0.5]


def test_parameters_of_the_text_classifier():
    """A BiLSTM of 300 units per direction over 200 numbers per word; PyTorch has two biases where Keras has one."""
    model = published("text", "classes")
    assert count(model.gated_fusion.lstm) == 2 * 4 * 300 * (200 + 300 + 2)
    assert count(model.classifier) == 600 * 2 + 2


def test_sizes_of_the_fusions():
    sizes = {"image_hidden_size": 2048, "image_regions": 49}
    assert published("combined", "concat", **sizes).classifier.in_features == 600 + 2048
    assert published("combined", "gl2_gl2_retained_dropout", **sizes).classifier.in_features == 600 + 2048
    compressed = published("combined", "gl1_gl2_compressed_dropout", **sizes)
    assert compressed.classifier.in_features == 600 + 600
    assert count(compressed.gated_fusion.image_layers) == 2048 * 600 + 600
    assert count(compressed.gated_fusion.text_gate) == count(compressed.gated_fusion.image_gate) == 600
    assert published("combined_embedding", "mse_5_epochs", **sizes).classifier.projection.weight.shape == (50, 1200)


def test_the_raw_network():
    """Two convolutions, each with pooling and normalisation, give 8 × 8 × 256 numbers for the dense layers."""
    names = [type(layer).__name__ for layer in RawCNN(RawCNNConfig())]
    assert names == ["Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d"] * 2
    model = published("raw_cnn", "no_dropout", image_config=RawCNNConfig()).eval()
    assert model.gated_fusion.image_layers[0].in_features == 8 * 8 * 256
    assert count(model.gated_fusion.image_encoder) == 96 * (75 + 1 + 2) + 256 * (96 * 9 + 1 + 2)
    picture = torch.randn(2, 1, 3, 32, 32)
    assert model(pixel_values=picture).fused.shape == (2, 24)
    regions, _ = model.encode_images(picture, None, None)
    maps = model.gated_fusion.image_encoder.backbone(picture[:, 0])  # (2, 256, 8, 8)
    assert torch.equal(regions[:, 0, 9], maps[:, :, 1, 1])
