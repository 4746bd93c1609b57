"""The MVSO study's classifiers against a slow reading of the paper, their losses by hand, gates, labels, branches."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import RawCNN, RawCNNConfig, SmallCNNConfig
from mmsent.modeling.common_losses import embedding_loss
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.gated_fusion import (
    Gate,
    GatedFusionConfig,
    GatedFusionForSequenceClassification,
    GatedFusionModel,
    last_states,
)

SIZE, IMAGE_SIZE, REGIONS, HIDDEN, E = 5, 6, 4, 3, 7
LABELS = torch.tensor([0, 1, 2, 0])


def config(**kwargs) -> GatedFusionConfig:
    return GatedFusionConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        **{
            "text_hidden": HIDDEN,
            "image_hidden": (4,),
            "fused_hidden": (),
            "standardize": False,
            "label_embedding_size": E,
            **kwargs,
        },
    )


def build(**kwargs) -> GatedFusionForSequenceClassification:
    torch.manual_seed(0)
    model = GatedFusionForSequenceClassification(config(**kwargs)).eval()
    for parameter in model.parameters():  # biases too, which would start at zero, and gates, which would at one
        torch.nn.init.normal_(parameter)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Cached features of four posts: ragged texts, none in the last; one image, none, two, two."""
    generator = torch.Generator().manual_seed(1)
    return {
        "text_features": torch.randn(4, 5, SIZE, generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]),
        "image_features": torch.randn(4, 2, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[True, False], [False, False], [True, True], [True, True]]),
    }


# ------------------------------------------------------------------------------------------------------- the equations


def linear(layer, x):
    return layer.weight.numpy() @ x + layer.bias.numpy()


def bilstm(module, words):
    """The last states of both directions, by PyTorch's own bidirectional LSTM on one text without padding."""
    if not words:
        return np.zeros(2 * HIDDEN)
    lstm = torch.nn.LSTM(SIZE, HIDDEN, bidirectional=True)
    for name, value in module.forward_lstm.state_dict().items():
        getattr(lstm, name).copy_(value)
    for name, value in module.backward_lstm.state_dict().items():
        getattr(lstm, f"{name}_reverse").copy_(value)
    _, (state, _) = lstm(torch.stack(words))  # (2, H)
    return state.flatten().numpy()


@torch.no_grad()
def slow_output(model, words, images):
    """One post: words (list of vectors), images (list of lists of region vectors) -> logits, and label embedding."""
    cfg, base = model.config, model.gated_fusion
    vectors = {}
    if cfg.branch != "image":
        vectors["text"] = bilstm(base.lstm, words)
    if cfg.branch != "text":
        vectors["image"] = np.zeros(cfg.image_sizes[-1])
        if images:
            if cfg.image_pooling == "mean":
                images = [sum(regions) / REGIONS for regions in images]
            else:
                images = [np.concatenate(regions) for regions in images]
            x = sum(images) / len(images)
            x = np.maximum(x, 0) if cfg.image_relu else x
            for layer in base.image_layers:
                if isinstance(layer, torch.nn.Linear):
                    x = np.maximum(linear(layer, x), 0)
            vectors["image"] = x
    if cfg.branch == "both" and cfg.fusion == "gated":
        for name, kind in (("text", cfg.text_gate), ("image", cfg.image_gate)):
            gate = getattr(base, f"{name}_gate").weight.numpy()
            vectors[name] = vectors[name] * (gate if kind == "GL1" else np.minimum(np.maximum(gate, 0), 1))
    fused = np.concatenate(list(vectors.values()))
    for layer in model.fused_layers:
        if isinstance(layer, torch.nn.Linear):
            fused = np.maximum(linear(layer, fused), 0)
    if cfg.head == "classes":
        return linear(model.classifier, fused), None
    p = linear(model.classifier.projection, fused)
    table = model.classifier.labels.numpy()
    return np.array([p @ t / math.sqrt(p @ p) / math.sqrt(t @ t) for t in table]), p


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
    got = model(**inputs)
    for row in range(4):
        words = inputs["text_features"][row][inputs["attention_mask"][row].bool()]
        images = [
            [region.numpy() for region in image] for image in inputs["image_features"][row][inputs["image_mask"][row]]
        ]
        logits, embedding = slow_output(model, list(words), images)
        np.testing.assert_allclose(got.logits[row].numpy(), logits, rtol=1e-4, atol=1e-5)
        if embedding is not None:
            np.testing.assert_allclose(got.embedding[row].numpy(), embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_is_trained(variant):
    model = build(**variant).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model(**batch(), labels=LABELS).loss.backward()
    without = [n for n, p in model.named_parameters() if "encoder" not in n and not p.grad.abs().sum()]
    assert without == []


def test_last_states_of_a_mask_with_holes():
    """Positions 1 and 3 of four are read: forwards the last is 3, backwards 1."""
    states = torch.arange(8.0).reshape(1, 4, 2)  # H = 1
    assert last_states(states, torch.tensor([[False, True, False, True]])).tolist() == [[6.0, 3.0]]


# ----------------------------------------------------------------------------------------------------------- the gates


def gates_after_training(kind: str) -> tuple[GatedFusionForSequenceClassification, list]:
    """Train the gates alone, against a loss that drives their weights far below 0 and far above 1."""
    model = build(text_gate=kind, image_gate=kind).train()
    gates = [model.gated_fusion.text_gate, model.gated_fusion.image_gate]
    for gate in gates:
        torch.nn.init.ones_(gate.weight)
    optimizer = torch.optim.SGD([gate.weight for gate in gates], lr=5.0)
    seen = []
    for _ in range(5):
        output = model(**batch(), labels=LABELS)
        (output.loss + output.text_gate[0] - output.image_gate[0]).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append((output.text_gate, output.image_gate))
    with torch.no_grad():
        output = model.eval()(**batch())  # after the last step, without another
    return model, [*seen, (output.text_gate, output.image_gate)]


def test_gl2_stays_between_0_and_1_after_optimiser_steps():
    model, seen = gates_after_training("GL2")
    for text_gate, image_gate in seen:
        assert text_gate.shape == (2 * HIDDEN,)
        assert image_gate.shape == (4,)
        for gate in (text_gate, image_gate):
            assert gate.min() >= 0
            assert gate.max() <= 1
    assert seen[-1][0][0] == 0
    assert seen[-1][1][0] == 1
    weights = model.gated_fusion.image_gate.weight
    assert weights[0] > 1  # the last update; a training step begins by clipping it
    model.train()(**batch())
    assert weights[0] == 1


def test_gl1_is_left_alone():
    model, seen = gates_after_training("GL1")
    assert seen[-1][0][0] < -1
    assert seen[-1][1][0] > 2
    assert torch.equal(seen[-1][0], model.gated_fusion.text_gate.weight)


def test_a_clipped_gate_follows_kerass_projected_steps():
    """w <- clip(w - lr · gradient), step by step, with a gradient that turns round: no step is lost outside."""
    gate = Gate(1, "GL2").train()
    torch.nn.init.ones_(gate.weight)
    optimizer, expected = torch.optim.SGD(gate.parameters(), lr=1.0), 1.0
    for slope in (0.7, 0.7, -0.2, -0.9, 0.5):
        gate(torch.tensor([[slope]]))[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        expected = min(max(expected - slope, 0.0), 1.0)
        assert gate(torch.ones(1, 1))[1].item() == pytest.approx(expected)


def test_gates_begin_open_and_are_two():
    model = GatedFusionModel(config()).eval()
    output = model(**batch())
    assert (output.text_gate == 1).all()
    assert (output.image_gate == 1).all()
    for variant in ({"fusion": "concat"}, {"branch": "text"}, {"branch": "image"}):
        other = GatedFusionModel(config(**variant))
        assert not [module for module in other.modules() if isinstance(module, Gate)]
        assert other(**batch()).text_gate is None


def test_open_gates_are_concatenation():
    gated, concat = build(), build(fusion="concat")
    gated.load_state_dict(concat.state_dict(), strict=False)
    for gate in (gated.gated_fusion.text_gate, gated.gated_fusion.image_gate):
        torch.nn.init.ones_(gate.weight)
    assert torch.equal(gated(**batch()).logits, concat(**batch()).logits)


# -------------------------------------------------------------------------------------------------------- the branches


@torch.no_grad()
@pytest.mark.parametrize(("branch", "other"), [("text", "image"), ("image", "text")])
def test_a_branch_reads_its_modality_alone(branch, other, backbones):
    import tiny

    processor, model = tiny.build("gated_fusion", "own", backbones, branch=branch)
    inputs = dict(processor(**tiny.posts()))
    assert getattr(model.gated_fusion, f"{other}_encoder") is None
    assert not [name for name in model.state_dict() if other in name]
    logits = model(**inputs).logits
    changed = dict(inputs)
    for name in {"image": ("pixel_values", "image_mask"), "text": ("input_ids", "attention_mask")}[other]:
        changed[name] = inputs[name].flip(0)
    assert torch.equal(model(**changed).logits, logits)
    for name in {"text": ("pixel_values", "image_mask"), "image": ("input_ids", "attention_mask")}[branch]:
        del changed[name]
    assert torch.equal(model(**changed).logits, logits)
    own = {"text": "attention_mask", "image": "image_mask"}[branch]
    assert not torch.equal(model(**inputs | {own: torch.zeros_like(inputs[own])}).logits, logits)


@pytest.mark.parametrize("encoders", ["own", "timm"])
@pytest.mark.parametrize("branch", ["text", "image"])
def test_a_branch_is_trained_frozen_saved_and_loaded(branch, encoders, backbones, tmp_path):
    import tiny

    processor, model = tiny.build(
        "gated_fusion", encoders, backbones, branch=branch, freeze_text=True, freeze_image=True
    )
    assert len(model.frozen_encoders()) == 1
    model.train()(**processor(**tiny.posts()), labels=torch.arange(6) % 3).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == ("_encoder." in name), name
    model.eval().save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    inputs = processor(**tiny.posts())
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_fused_is_retained_or_compressed():
    def fused(**kwargs):
        return GatedFusionModel(config(**kwargs)).eval()(**batch()).fused

    assert fused(image_hidden=()).shape == (4, 2 * HIDDEN + IMAGE_SIZE)
    assert fused(image_hidden=(4,)).shape == (4, 2 * HIDDEN + 4)
    assert fused(image_hidden=(), image_pooling="flatten").shape == (4, 2 * HIDDEN + REGIONS * IMAGE_SIZE)
    assert fused(branch="text").shape == (4, 2 * HIDDEN)
    assert fused(branch="image", image_hidden=(9, 8)).shape == (4, 8)


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_the_papers_scores_are_a_sum_over_the_modalities(fusion):
    """Two texts with two pictures each: what the picture changes does not hang on the text, unless layers follow."""

    def interaction(**kwargs):
        inputs = batch()
        texts, images = inputs["text_features"][[0, 0, 1, 1]], inputs["image_features"][[2, 3, 2, 3]]
        scores = build(fusion=fusion, **kwargs)(text_features=texts, image_features=images).logits
        return (scores[0] - scores[1] - scores[2] + scores[3]).abs().max()

    assert interaction() < 1e-4
    assert interaction(fused_hidden=(8,)) > 1e-2


def test_an_absent_modality_is_a_zero_vector():
    fused = build().gated_fusion(**batch()).fused
    assert not fused[3, : 2 * HIDDEN].any()
    assert not fused[1, 2 * HIDDEN :].any()
    assert fused[0].any()


# ---------------------------------------------------------------------------------------------------------- the losses

# Two labels in the plane, one point p = (1, 2) of label 0.
TABLE = torch.tensor([[0.5, 0.0], [0.0, -3.0]])
POINT = torch.tensor([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mse", (0.5**2 + 2**2) / 2),
        ("cosine", -1 / math.sqrt(5)),
        ("hinge", (0.5 + 1) / 2),  # max(0, 1 - 0.5 · 1), max(0, 1 - 0 · 2)
        ("rank_hinge", 0.0),  # unit vectors (1, 0), (0, -1): max(0, 0.1 - 1 - 2)
    ],
)
def test_losses_by_hand(kind, expected):
    assert embedding_loss(POINT, TABLE, torch.tensor([0]), kind, 0.1).item() == pytest.approx(expected)


def test_losses_of_the_other_label_by_hand():
    """The same point of label 1, and both together, of which the loss is the mean."""
    expected = {
        "mse": (1**2 + 5**2) / 2,
        "cosine": 2 / math.sqrt(5),
        "hinge": (1 + 7) / 2,
        "rank_hinge": 0.1 + 2 + 1,
    }
    both, labels = POINT.expand(2, 2), torch.tensor([0, 1])
    for kind, value in expected.items():
        assert embedding_loss(POINT, TABLE, torch.tensor([1]), kind, 0.1).item() == pytest.approx(value)
        first = embedding_loss(POINT, TABLE, torch.tensor([0]), kind, 0.1).item()
        assert embedding_loss(both, TABLE, labels, kind, 0.1).item() == pytest.approx((first + value) / 2)


def test_rank_hinge_adds_up_over_the_other_labels():
    table = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    point = torch.tensor([[0.2, 0.5]])
    # t·p: 0.2, 0.5, -0.2; margin 0.5: 0.5 - 0.2 + 0.5 and 0.5 - 0.2 - 0.2
    assert embedding_loss(point, table, torch.tensor([0]), "rank_hinge", 0.5).item() == pytest.approx(0.8 + 0.1)


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "cosine", "hinge", "rank_hinge"])
def test_the_classifier_is_trained_with_the_loss_of_its_config(kind):
    model = build(head="label_embedding", loss=kind)
    output = model(**batch(), labels=LABELS)
    if kind == "cross_entropy":
        expected = torch.nn.functional.cross_entropy(output.logits, LABELS)
    else:
        expected = embedding_loss(output.embedding, model.classifier.labels, LABELS, kind, 0.1)
    assert torch.equal(output.loss, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(**batch(), labels=LABELS).loss.dtype == torch.float32


def test_the_gradient_of_an_empty_post_is_finite_and_moderate():
    """Nothing is read and biases begin at zero: the cosine of a zero vector."""
    model = GatedFusionForSequenceClassification(config(head="label_embedding", loss="cosine"))
    inputs = batch() | {"attention_mask": torch.zeros(4, 5), "image_mask": torch.zeros(4, 2, dtype=torch.bool)}
    model(**inputs, labels=LABELS).loss.backward()
    assert model.classifier.projection.bias.grad.norm() < 1e4


# ---------------------------------------------------------------------------------------------------------- the labels


@pytest.fixture
def vectors(tmp_path) -> Path:
    lines = {"positive": (1, 1), "neutral": (1, 0), "negative": (-1, 0), "very": (0, -1), "x": (9, 9)}
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {a} {b} {' '.join('0' * (E - 2))}\n" for word, (a, b) in lines.items()))
    return path


def test_given_embeddings_stay_and_learned_ones_are_trained():
    for kind, names in (("given", []), ("learned", ["classifier.labels"])):
        model = build(head="label_embedding", label_embedding=kind, loss="rank_hinge")
        table = torch.randn(3, E)
        model.set_label_embeddings(table)
        assert torch.equal(model.classifier.labels, table)
        assert [name for name, _ in model.named_parameters() if "labels" in name] == names
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        model(**batch(), labels=LABELS).loss.backward()
        optimizer.step()
        assert torch.equal(model.classifier.labels, table) == (kind == "given")


def test_label_embeddings_are_read_by_name(vectors):
    model = build(head="label_embedding")
    model.set_label_embeddings(vectors)
    assert model.classifier.labels[:, :2].tolist() == [[-1, 0], [1, 0], [1, 1]]  # negative, neutral, positive
    model.add_label("Very positive", vectors)
    assert model.classifier.labels[3, :2].tolist() == [0.5, 0]
    with pytest.raises(ValueError, match="has 0|none of the tokenizer's"):
        model.add_label("furious", vectors)
    with pytest.raises(ValueError, match="has 1 of the 2 words of the labels' names: furious, very"):
        model.add_label("very furious", vectors)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["given", "learned"])
def test_a_label_unseen_in_training_is_added_by_name_predicted_and_saved(kind, tmp_path):
    model = build(head="label_embedding", label_embedding=kind)
    before = model(**batch())
    model.add_label("amused", before.embedding[0])
    after = model(**batch())
    torch.testing.assert_close(after.logits[:, :3], before.logits)
    assert model.config.id2label[after.logits[0].argmax().item()] == "amused"
    assert after.logits[0, 3].item() == pytest.approx(1)
    assert (model.config.num_labels, model.config.label2id["amused"]) == (4, 3)
    assert model(**batch(), labels=torch.tensor([3, 0, 1, 2])).loss.isfinite()

    model.save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert loaded.config.id2label == {0: "negative", 1: "neutral", 2: "positive", 3: "amused"}
    assert torch.equal(loaded(**batch()).logits, after.logits)
    assert [name for name, _ in loaded.named_parameters() if "labels" in name] == (
        ["classifier.labels"] if kind == "learned" else []
    )


@torch.no_grad()
def test_a_trained_classifier_can_be_given_label_embeddings(tmp_path):
    """How the paper begins its embedding classifiers."""
    trained = build()
    trained.save_pretrained(tmp_path)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, head="label_embedding", label_embedding_size=E, loss="hinge", output_loading_info=True
    )
    assert all(name.startswith("classifier.") for name in info["missing_keys"])
    assert torch.equal(model(**batch()).fused, trained(**batch()).fused)
    assert model(**batch()).embedding.shape == (4, E)


def test_from_backbones_wants_the_vectors_of_given_labels(backbones, vectors):
    import tiny

    settings = {"head": "label_embedding", "label_embedding_size": E}
    with pytest.raises(ValueError, match="model_kwargs label_vectors=FILE"):
        tiny.build("gated_fusion", "own", backbones, **settings)
    _, model = tiny.build("gated_fusion", "own", backbones, **settings, label_vectors=str(vectors))
    assert model.classifier.labels[0, 0] == -1
    assert "vectors" not in model.config.to_json_string().replace("word_vectors", "")
    tiny.build("gated_fusion", "own", backbones, **settings, label_embedding="learned")


def test_bad_settings():
    with pytest.raises(ValueError, match="loss='mse' compares label embeddings: set head='label_embedding'"):
        config(loss="mse")
    with pytest.raises(ValueError, match="all labels have one embedding"):
        config(head="label_embedding", label_embedding="learned", loss="cosine")
    with pytest.raises(ValueError, match="not one number per layer"):
        config(image_hidden=(4, 3), image_dropout=(0.5,))
    for call in (lambda: build().add_label("x", torch.zeros(E)), lambda: build().set_label_embeddings(TABLE)):
        with pytest.raises(ValueError, match="has no label embeddings"):
            call()
    with pytest.raises(ValueError, match="already"):
        build(head="label_embedding").add_label("neutral", torch.zeros(E))
    with pytest.raises(ValueError, match=r"shape \(1, 7\), not \(3, 7\)"):
        build(head="label_embedding").set_label_embeddings(torch.zeros(1, E))


# ----------------------------------------------------------------------------------------------------------- the sizes


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def published(name: str, classes: int = 2, **encoders) -> GatedFusionForSequenceClassification:
    """The model of a recipe, its image encoder's sizes given, its encoders tiny."""
    recipe = yaml.safe_load((Path(__file__).parents[2] / f"configs/mvso/gated_fusion_{name}.yaml").read_text())
    assert recipe["architecture"] == "gated_fusion"
    return ARCHITECTURES["gated_fusion"].classifier(
        GatedFusionConfig(**recipe["model_kwargs"], id2label=dict(enumerate("abc"[:classes])), **encoders)
    )


def test_parameters_of_the_image_classifier():
    """Dense 2048, 1024, 512 and softmax over two classes on AlexNet's 4,096 numbers."""
    model = published("image", image_hidden_size=4096)
    dense = 4096 * 2048 + 2048 + 2048 * 1024 + 1024 + 1024 * 512 + 512
    assert count(model.gated_fusion.image_layers) == dense == 11_013_632
    assert count(model.classifier) == 512 * 2 + 2
    layers = [type(layer).__name__ for layer in model.gated_fusion.image_layers]
    assert layers == ["ReLU", *["Linear", "ReLU", "Dropout"] * 3]
    assert [layer.p for layer in model.gated_fusion.image_layers if hasattr(layer, "p")] == [0.7, 0.7, 0.5]


def test_parameters_of_the_text_classifier():
    """BiLSTM of 300 units a direction over 200 numbers a word; two biases where Keras has one."""
    model = published("text")
    assert count(model.gated_fusion.lstm) == 2 * 4 * 300 * (200 + 300 + 2)
    assert count(model.classifier) == 600 * 2 + 2


def test_sizes_of_the_fusions():
    sizes = {"image_hidden_size": 2048, "image_regions": 49}
    assert published("concat", **sizes).classifier.in_features == 600 + 2048
    assert published("gl2_gl2_retained_dropout", **sizes).classifier.in_features == 600 + 2048
    compressed = published("gl1_gl2_compressed_dropout", **sizes)
    assert compressed.classifier.in_features == 600 + 600
    assert count(compressed.gated_fusion.image_layers) == 2048 * 600 + 600
    assert count(compressed.gated_fusion.text_gate) == count(compressed.gated_fusion.image_gate) == 600
    assert published("embedding_mse", **sizes).classifier.projection.weight.shape == (50, 1200)


def test_the_raw_network():
    """Conv 96, pooling, normalisation, Conv 256, pooling, normalisation: 8 × 8 × 256 numbers, then 1024, 512, 24."""
    names = [type(layer).__name__ for layer in RawCNN(RawCNNConfig())]
    assert names == ["Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d"] * 2
    model = published("raw_cnn", image_config=RawCNNConfig()).eval()
    assert model.gated_fusion.image_layers[0].in_features == 8 * 8 * 256
    assert count(model.gated_fusion.image_encoder) == 96 * (75 + 1 + 2) + 256 * (96 * 9 + 1 + 2)
    picture = torch.randn(2, 1, 3, 32, 32)
    output = model(pixel_values=picture)
    assert output.fused.shape == (2, 24)
    features, _ = model.encode_images(picture, None, None)
    maps = model.gated_fusion.image_encoder.backbone(picture[:, 0])  # (2, 256, 8, 8)
    assert torch.equal(features[:, 0, 9], maps[:, :, 1, 1])


def test_every_row_of_the_paper_has_a_recipe():
    folder = Path(__file__).parents[2] / "configs/mvso"
    rows = {}
    for path in folder.glob("gated_fusion_*.yaml"):
        recipe = yaml.safe_load(path.read_text())
        kwargs = recipe["model_kwargs"]
        gates = kwargs.get("fusion") and [kwargs.get("text_gate"), kwargs.get("image_gate"), kwargs["dropout"]]
        rows[path.stem.removeprefix("gated_fusion_")] = (
            recipe["dataset_config"],
            kwargs["branch"],
            str(gates or kwargs.get("image_hidden")),
            kwargs.get("loss"),
            bool(kwargs.get("image_dropout")),
        )
    assert len(rows) == 19
    # The two best of the paper's text and of its Table 8, and every loss of its embedding classifiers.
    assert {row[3] for row in rows.values()} == {None, "hinge", "cosine", "mse"}
    assert {name for name, row in rows.items() if row[0] == "study"} == {
        "image_3class",
        "image_anp_3class",
        "image_embedding_3class",
    }
    assert rows["gl2_gl2_retained_dropout"][2] == "['GL2', 'GL2', 0.3]"
    assert rows["gl1_gl2_compressed"][2] == "['GL1', 'GL2', 0.0]"
