"""What every architecture inherits: loading, saving, and errors that say what to do."""

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


def test_a_checkpoint_without_weights(built, tmp_path):
    built[1].save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="no file named model.safetensors"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_pickle_is_not_loaded_for_a_backbone(built, backbones, tmp_path):
    config = Path(backbones["bert"], "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        tiny.ARCHITECTURES["comn"].classifier.from_backbones(tmp_path, "small_cnn", built[0].tokenizer)


def test_saved_weights_have_the_names_of_the_modules(built, tmp_path):
    """Trainer resumes and reloads its best model by load_state_dict, which renames nothing (transformers#43701)."""
    _, model = built
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(model.state_dict())
    model.load_state_dict(saved)


def test_nothing_given(built):
    processor, model = built
    batch = dict(processor(text="good day", images=tiny.picture(0)))
    for name, message in (("input_ids", "Give input_ids"), ("pixel_values", "Give pixel_values")):
        with pytest.raises(ValueError, match=message):
            model(**{key: value for key, value in batch.items() if key != name})


def test_masks_are_of_everything_by_default(built):
    processor, model = built
    batch = dict(processor(text="good day", images=tiny.picture(0)))
    want = model(**batch).logits
    del batch["attention_mask"], batch["image_mask"]
    torch.testing.assert_close(model(**batch).logits, want)


def test_the_loss_is_the_mean_cross_entropy(built):
    processor, model = built
    batch, labels = processor(**tiny.posts()), torch.tensor([0, 1, 2, 0, 1, 2])
    output = model(**batch, labels=labels)
    want = -output.logits.log_softmax(-1)[range(6), labels].mean()
    torch.testing.assert_close(output.loss, want)
    # Trainer divides by num_items_in_batch only for models that accept it, and this loss is a mean already
    assert model.accepts_loss_kwargs is False


def test_classes_of_another_corpus(backbones):
    _, model = tiny.build("comn", "own", backbones, id2label={0: "1.0", 1: "2.0", 2: "3.0", 3: "4.0"})
    assert model.classifier.out_features == model.config.num_labels == 4
    assert model.config.label2id["4.0"] == 3


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_standardised_features_do_not_depend_on_their_scale(architecture, backbones):
    """In training, when a batch is standardised by itself; without `standardize` the scale of features remains."""
    processor, model = tiny.build(architecture, "timm", backbones, freeze_image=True)
    _, plain = tiny.build(architecture, "timm", backbones, freeze_image=True, standardize=False)
    mask = processor(**tiny.posts())["image_mask"]
    features = torch.randn(*mask.shape, model.config.image_regions, model.config.image_hidden_size)
    assert "image_norm" not in {name for name, _ in plain.base_model.named_children()}
    got, _ = model.train().encode_images(None, mask, features)
    scaled, _ = model.encode_images(None, mask, 4 * features + 2)
    unscaled, _ = plain.train().encode_images(None, mask, features)
    assert (unscaled == features.mean(2, keepdim=True)).all() if plain.pools_regions else unscaled is features
    torch.testing.assert_close(got, scaled, atol=1e-3, rtol=1e-3)
    there = got[mask].flatten(0, 1)
    torch.testing.assert_close(there.mean(0), torch.zeros(there.shape[1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_labels_out_of_range(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    batch = processor(**tiny.posts())
    for label in (-1, 3, -100):
        with pytest.raises(ValueError, match=rf"labels hold \[{label}\], but the classes are 0..2"):
            model(**batch, labels=torch.tensor([0, 1, 2, label, 0, 1]))
