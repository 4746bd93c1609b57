"""What every architecture inherits: loading, saving, standardised features, the loss, and clear errors."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from mmsent.modeling import ARCHITECTURES


@pytest.fixture
def built(backbones):
    return tiny.build("comn", "transformers", backbones)


@pytest.fixture
def batch(built):
    return dict(built[0](text="good day", images=tiny.picture(0)))


def test_a_backbone_is_not_loaded_from_a_pickle(built, backbones, tmp_path):
    config = Path(backbones["bert"], "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        ARCHITECTURES["comn"].classifier.from_backbones(tmp_path, "small_cnn", built[0].tokenizer)


def test_saved_weights_have_the_names_of_the_modules(built, tmp_path):
    """Trainer resumes and reloads its best model by load_state_dict, which renames nothing (transformers#43701)."""
    _, model = built
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(model.state_dict())
    model.load_state_dict(saved)


@pytest.mark.parametrize("name", ["input_ids", "pixel_values"])
def test_a_modality_without_input(built, batch, name):
    del batch[name]
    with pytest.raises(ValueError, match=f"Give {name}"):
        built[1](**batch)


def test_masks_are_true_by_default(built, batch):
    _, model = built
    expected = model(**batch).logits
    del batch["attention_mask"], batch["image_mask"]
    torch.testing.assert_close(model(**batch).logits, expected)


def test_the_loss_is_the_mean_cross_entropy(built):
    processor, model = built
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    output = model(**processor(**tiny.posts()), labels=labels)
    torch.testing.assert_close(output.loss, -output.logits.log_softmax(-1)[range(6), labels].mean())
    # Trainer divides by num_items_in_batch only if the model accepts it, but this loss is a mean already.
    assert model.accepts_loss_kwargs is False


@pytest.mark.parametrize(
    ("architecture", "fields", "message"),
    [
        *((name, {"hops": 0}, "hops=0: give whole numbers") for name in ("comn", "mimn", "co_memory_aspect")),
        ("comn", {"hops": "two"}, "hops"),
        ("comn", {"cross": "sideways"}, "sideways"),
        ("mimn", {"interaction": "sideways"}, "sideways"),
        ("mdse", {"num_attention_heads": 3}, "hidden_size=100 is not a multiple of num_attention_heads=3"),
        ("mdse", {"reading": "official"}, "does not have a vector f: set contrastive_fused=False"),
        ("gated_fusion", {"loss": "mse"}, "loss='mse' compares label embeddings: set head='label_embedding'"),
        (
            "gated_fusion",
            {"head": "label_embedding", "label_embedding": "learned", "loss": "cosine"},
            "all labels have one embedding",
        ),
        ("gated_fusion", {"image_hidden": (4, 3), "image_dropout": (0.5,)}, "not one number per layer"),
    ],
)
def test_bad_settings(architecture, fields, message):
    with pytest.raises(Exception, match=message):
        ARCHITECTURES[architecture].config(**fields)


@torch.no_grad()
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if "image" in tiny.reads(name)])
def test_standardized_features_do_not_depend_on_their_scale(architecture, backbones):
    """In training each batch is standardised by its own statistics. Without `standardize` the scale remains."""
    processor, model = tiny.build(architecture, "timm", backbones, freeze_image=True)
    _, plain = tiny.build(architecture, "timm", backbones, freeze_image=True, standardize=False)
    mask = processor(**tiny.posts())["image_mask"]
    features = torch.randn(*mask.shape, model.config.image_regions, model.config.image_hidden_size)
    assert "image_norm" not in {name for name, _ in plain.base_model.named_children()}
    regions, _ = model.train().encode_images(None, mask, features)
    scaled, _ = model.encode_images(None, mask, 4 * features + 2)
    unscaled, _ = plain.train().encode_images(None, mask, features)
    assert torch.equal(unscaled, features.mean(2, keepdim=True) if plain.pools_regions else features)
    torch.testing.assert_close(regions, scaled, atol=1e-3, rtol=1e-3)
    means = regions[mask].flatten(0, 1).mean(0)
    torch.testing.assert_close(means, torch.zeros_like(means), atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_labels_out_of_range(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    batch = processor(**tiny.posts())
    for label in (-1, 3, -100):
        with pytest.raises(ValueError, match=rf"labels hold \[{label}\], but the classes are 0..2"):
            model(**batch, labels=torch.tensor([0, 1, 2, label, 0, 1]))


branches = pytest.mark.parametrize("branch", ["text", "image"])
with_branches = pytest.mark.parametrize("architecture", ["deep_fusion", "gated_fusion"])


@torch.no_grad()
@branches
@with_branches
def test_a_branch_reads_only_its_modality(architecture, branch, backbones):
    processor, model = tiny.build(architecture, "own", backbones, branch=branch)
    inputs = dict(processor(**tiny.posts()))
    names = {"image": ("pixel_values", "image_mask"), "text": ("input_ids", "attention_mask")}
    other = "text" if branch == "image" else "image"
    assert getattr(model.base_model, f"{other}_encoder") is None
    assert not [name for name in model.state_dict() if other in name]
    logits = model(**inputs).logits
    own = {name: inputs[name] for name in names[branch]}
    assert torch.equal(model(**own).logits, logits)
    assert torch.equal(model(**own, **{name: inputs[name].flip(0) for name in names[other]}).logits, logits)
    mask = names[branch][1]
    assert not torch.equal(model(**inputs | {mask: torch.zeros_like(inputs[mask])}).logits, logits)


@branches
@with_branches
@pytest.mark.parametrize("encoders", ["own", "timm"])
def test_a_branch_is_trained_frozen_saved_and_loaded(architecture, branch, encoders, backbones, tmp_path):
    fields = {"branch": branch, "freeze_text": True, "freeze_image": True}
    processor, model = tiny.build(architecture, encoders, backbones, **fields)
    assert len(model.frozen_encoders()) == 1
    inputs = processor(**tiny.posts())
    model.train()(**inputs, labels=torch.arange(6) % 3).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == ("_encoder." in name), name
    model.eval().save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
