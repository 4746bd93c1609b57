"""The heads of the MVSO study's classifiers: losses, label embeddings, labels that are added, and the recipes."""

from pathlib import Path

import pytest
import tiny
import torch
from test_gated_fusion import LABELS, batch, build, config
from transformers import AutoModelForSequenceClassification

from mmsent.modeling.common_losses import embedding_loss
from mmsent.modeling.gated_fusion import GatedFusionForSequenceClassification

E = 7  # the length of a label embedding


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
    """The embedding is a zero vector, because nothing is read and the biases start at zero."""
    model = GatedFusionForSequenceClassification(config(head="label_embedding", loss="cosine"))
    inputs = batch() | {"attention_mask": torch.zeros(4, 5), "image_mask": torch.zeros(4, 2, dtype=torch.bool)}
    model(**inputs, labels=LABELS).loss.backward()
    assert model.classifier.projection.bias.grad.norm() < 1e4


@pytest.fixture
def vectors(tmp_path) -> Path:
    lines = {"positive": (1, 1), "neutral": (1, 0), "negative": (-1, 0), "very": (0, -1), "x": (9, 9)}
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {a} {b} {' '.join('0' * (E - 2))}\n" for word, (a, b) in lines.items()))
    return path


@pytest.mark.parametrize("kind", ["given", "learned"])
def test_only_learned_embeddings_are_trained(kind):
    model = build(head="label_embedding", label_embedding=kind, loss="rank_hinge")
    table = torch.randn(3, E)
    model.set_label_embeddings(table)
    assert torch.equal(model.classifier.labels, table)
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
    with pytest.raises(ValueError, match="none of the tokenizer's"):
        model.add_label("furious", vectors)
    with pytest.raises(ValueError, match="has 1 of the 2 words of the labels' names: furious, very"):
        model.add_label("very furious", vectors)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["given", "learned"])
def test_a_label_that_was_not_in_the_training_is_added_predicted_and_saved(kind, tmp_path):
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
    trained = [name for name, _ in loaded.named_parameters() if "labels" in name]
    assert trained == (["classifier.labels"] if kind == "learned" else [])


@torch.no_grad()
def test_a_trained_classifier_can_get_label_embeddings(tmp_path):
    """The paper starts its embedding classifiers in this way."""
    trained = build()
    trained.save_pretrained(tmp_path)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, head="label_embedding", label_embedding_size=E, loss="hinge", output_loading_info=True
    )
    assert all(name.startswith("classifier.") for name in info["missing_keys"])
    assert torch.equal(model(**batch()).fused, trained(**batch()).fused)
    assert model(**batch()).embedding.shape == (4, E)


def test_from_backbones_needs_the_vectors_of_given_labels(backbones, vectors):
    fields = {"head": "label_embedding", "label_embedding_size": E}
    with pytest.raises(ValueError, match="model_kwargs label_vectors=FILE"):
        tiny.build("gated_fusion", "own", backbones, **fields)
    _, model = tiny.build("gated_fusion", "own", backbones, **fields, label_vectors=str(vectors))
    assert model.classifier.labels[0, 0] == -1
    assert "vectors" not in model.config.to_json_string().replace("word_vectors", "")
    tiny.build("gated_fusion", "own", backbones, **fields, label_embedding="learned")


def test_bad_label_embeddings():
    for call in (lambda: build().add_label("x", torch.zeros(E)), lambda: build().set_label_embeddings(torch.eye(3))):
        with pytest.raises(ValueError, match="has no label embeddings"):
            call()
    with pytest.raises(ValueError, match="already"):
        build(head="label_embedding").add_label("neutral", torch.zeros(E))
    with pytest.raises(ValueError, match=r"shape \(1, 7\), not \(3, 7\)"):
        build(head="label_embedding").set_label_embeddings(torch.zeros(1, E))
