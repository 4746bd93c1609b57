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


def test_a_checkpoint_without_weights(built, tmp_path):
    built[1].save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="no file named model.safetensors"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


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


def test_classes_of_another_corpus(backbones):
    _, model = tiny.build("comn", "own", backbones, id2label={0: "1.0", 1: "2.0", 2: "3.0", 3: "4.0"})
    assert model.classifier.out_features == model.config.num_labels == 4
    assert model.config.label2id["4.0"] == 3


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
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
