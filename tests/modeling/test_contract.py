"""The contract of every architecture, part 2: what a model computes and how it is trained.

A new architecture is tested as soon as it has a row in `mmsent.modeling.ARCHITECTURES`.
"""

from itertools import compress, product

import pytest
import tiny
import torch
from tiny import logits
from transformers import AutoModelForSequenceClassification

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_layers import FeatureNorm


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


# -------------------------------------------------------------------------------- batches, missing parts and padding


@tiny.every_row()
def test_logits_do_not_depend_on_the_batch(built):
    processor, model = built
    posts = tiny.posts()
    together = logits(model, processor(**posts))
    for post in range(len(posts["text"])):
        alone = processor(**{name: values[post] for name, values in posts.items()})
        assert_close(logits(model, alone)[0], together[post])
    order = [4, 2, 0, 5, 1, 3]
    shuffled = processor(**{name: [values[post] for post in order] for name, values in posts.items()})
    assert_close(logits(model, shuffled), together[order])


def pad(batch: dict, tokens: int, slots: int) -> dict:
    """Return the same posts with more padding, filled with other words and other pixels."""
    padded = dict(batch)
    for name in ("input_ids", "aspect_input_ids"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, tokens), value=3)
    for name in ("attention_mask", "aspect_attention_mask"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, tokens))
    if "positions" in batch:
        padded["positions"] = torch.nn.functional.pad(batch["positions"], (0, tokens), value=3)
    count, _, *shape = batch["pixel_values"].shape
    padded["pixel_values"] = torch.cat([batch["pixel_values"], torch.randn(count, slots, *shape)], 1)
    padded["image_mask"] = torch.nn.functional.pad(batch["image_mask"], (0, slots))
    return padded


@tiny.every_row()
def test_missing_parts_and_padding(built):
    processor, model = built
    image = [tiny.picture(1)]
    posts = {
        "text": ["good day", None, "", "good day", "good day", None],
        "images": [image, image, image, [], [tiny.picture(seed) for seed in range(3)], []],
    }
    batch = processor(**posts, aspect=["coffee", "coffee", None, None, "coffee", None])
    scores = logits(model, batch)
    assert scores.isfinite().all()
    assert_close(logits(model, pad(batch, tokens=5, slots=2)), scores)
    assert logits(model, processor(**posts)).isfinite().all()


@tiny.every_row()
def test_a_batch_without_any_image_or_any_text_can_be_trained_on(built):
    processor, model = built
    model.train()
    for part in ({"text": ["good day", "bad day"]}, {"images": [[tiny.picture(0)], [tiny.picture(1)]]}):
        model.zero_grad()
        model(**processor(**part), labels=torch.tensor([0, 2])).loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)


# ----------------------------------------------------------------------------------------------- training and freezing


def fits(model, batch, labels) -> bool:
    return bool((logits(model, batch).argmax(-1) == labels).all())


def train_steps(model, batch, labels, steps: int, lr: float = 1e-2, until_fit: bool = False) -> None:
    """Train for some steps, or until every label is predicted, which is looked at every ten steps."""
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        decay.step()
        if until_fit and step % 10 == 0:
            if fits(model.eval(), batch, labels):
                return
            model.train()
    model.eval()


@tiny.every_row()
@pytest.mark.parametrize("frozen", [(), ("text",), ("image",), ("text", "image")], ids="+".join)
def test_gradients_reach_all_but_the_frozen(architecture, encoders, backbones, frozen):
    if not set(frozen) <= set(tiny.reads(architecture)):
        pytest.skip("it does not have this encoder")
    processor, model = tiny.build(architecture, encoders, backbones, **{f"freeze_{name}": True for name in frozen})
    batch, labels = processor(**tiny.posts()), torch.arange(6) % 3
    frozen_encoders = [name for modality in frozen for name in model.encoders(modality)]

    def is_frozen(name: str) -> bool:
        return any(f".{encoder}_encoder." in name for encoder in frozen_encoders)

    before = {name: value.clone() for name, value in model.state_dict().items() if is_frozen(name)}
    assert len(model.frozen_encoders()) == len(frozen_encoders)
    train_steps(model, batch, labels, steps=3)
    model.train()
    for encoder in model.frozen_encoders():
        assert not any(module.training for module in encoder.modules())
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value), name
    model.zero_grad()
    for _ in range(3):  # dropout may hide a gradient once
        model(**batch, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != is_frozen(name), name
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient != is_frozen(name), name


@tiny.every_row()
def test_freezing_survives_loading(architecture, encoders, backbones, tmp_path):
    _, model = tiny.build(architecture, encoders, backbones, freeze_text=True, freeze_image=True)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).train()
    names = {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad}
    assert loaded.frozen_encoders() == [e for part in tiny.reads(architecture) for e in loaded.encoders(part).values()]
    assert names == {name for name, _ in loaded.named_parameters() if "_encoder." in name}


@tiny.every_row("own")
def test_it_overfits_16_posts_and_is_deterministic(architecture, encoders, backbones):
    models, reads, words = [], ARCHITECTURES[architecture].reads, ["good", "bad", "plain", "coffee"]
    labels = torch.tensor([(i + i // 4) % 4 for i in range(16)])  # from the text alone, 1 of 4 is right
    if "image" not in reads:  # an aspect decides half of the label
        labels = torch.tensor([2 * (i // 8) + i % 2 if "aspect" in reads else i % 4 for i in range(16)])
    aspects = [words[i // 4] for i in range(16)] if reads == ("text", "aspect") else None
    for _ in range(2):
        processor, model = tiny.build(architecture, encoders, backbones, num_labels=4)
        texts, images = [f"the day was {words[i % 4]}" for i in range(16)], [[tiny.picture(i)] for i in range(16)]
        batch = processor(text=texts, images=images, aspect=aspects)
        train_steps(model, batch, labels, steps=10)
        models.append(model)
    one, other = (model.state_dict() for model in models)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the test is whether the model can fit, not whether it generalises
    train_steps(model, batch, labels, steps=100, until_fit=True)
    assert fits(model, batch, labels)


# ---------------------------------------------------------------------------------- cached features, bf16 and graphs


@tiny.every_row()
@torch.no_grad()
def test_cached_features_give_the_same_logits(model, batch):
    """The features are the output of the encoders alone, before `FeatureNorm`, which is not the identity here."""
    for module in model.modules():
        if isinstance(module, FeatureNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    expected, base = logits(model, batch), model.base_model
    features, pixels = {}, batch["pixel_values"]
    if base.text_encoder is not None:
        tokens = base.text_encoder(batch["input_ids"], batch["attention_mask"])  # (B, L, D)
        features["input_ids"] = {"text_features": tokens}
    for name, encoder in model.encoders("image").items():
        regions = encoder(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])  # (B, K, R, D)
        regions = regions.mean(2, keepdim=True) if model.pools_regions else regions
        features.setdefault("pixel_values", {})[f"{name}_features"] = regions
    for cached in product([False, True], repeat=len(features)):
        inputs = dict(batch)
        for name in compress(features, cached):
            del inputs[name]
            inputs |= features[name]
        assert_close(logits(model, inputs), expected)


@tiny.every_row()
def test_bf16_autocast(model, batch):
    expected = logits(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch, labels=torch.arange(6) % 3)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), expected, rtol=0.1, atol=0.1)


@tiny.every_row("own")
def test_export_and_compile(model, batch):
    expected = logits(model, batch)
    with torch.no_grad():
        program = torch.export.export(model, (), batch, strict=False)
        assert_close(program.module()(**batch).logits, expected)
    torch.compiler.reset()
    assert_close(logits(torch.compile(model, backend="aot_eager"), batch), expected)
