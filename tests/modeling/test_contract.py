"""The contract of every architecture: seven checks over each row of `modeling.ARCHITECTURES`, with each kind of
encoder.

A new row is checked by being in the table.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor

from mmsent.modeling import ARCHITECTURES

ROWS = [(name, encoders) for name in ARCHITECTURES for encoders in tiny.ENCODERS]
every_row = pytest.mark.parametrize(("architecture", "encoders"), ROWS)
# What takes seconds a row is done in the fast suite with this project's own encoders only.
slowly = [pytest.param(*row, marks=[pytest.mark.slow] if row[1] != "own" else []) for row in ROWS]
every_row_slowly = pytest.mark.parametrize(("architecture", "encoders"), slowly)


@pytest.fixture
def built(architecture, encoders, backbones):
    return tiny.build(architecture, encoders, backbones)


@torch.no_grad()
def logits(model, batch) -> torch.Tensor:
    return model(**batch).logits


def subset(batch: dict, rows: list[int]) -> dict:
    return {name: value[rows] for name, value in batch.items()}


# ---------------------------------------------------------------------------------------------------------------- 1

LOADER = """
import json, sys
folders, trust, hidden = json.loads(sys.argv[1])
if hidden:  # as on a machine where this project is not installed
    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "mmsent":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Hidden())
else:
    import mmsent
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor
torch.set_grad_enabled(False)  # an LSTM's last bits differ with gradients
for folder in folders:
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust)
    base = AutoModel.from_pretrained(folder, trust_remote_code=trust)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust)
    posts = json.load(open(folder + "/posts.json"))
    batch = processor(**posts)
    output = classifier(**batch)
    save_file({"logits": output.logits, "fused": base(**batch).fused}, folder + f"/{trust}.safetensors")
"""


@pytest.fixture(scope="session")
def saved(backbones, tmp_path_factory):
    """Every row saved, its backbones then out of reach, and loaded by two fresh processes: one that has the package
    imported, and one that cannot import it and trusts the code in the folder."""
    root = tmp_path_factory.mktemp("saved")
    own_backbones = {name: shutil.copytree(path, root / name) for name, path in backbones.items()}
    posts, folders = tiny.posts(), {}
    for post, images in enumerate(posts["images"]):
        paths = [root / f"{post}-{slot}.png" for slot in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            image.save(path)
        posts["images"][post] = [str(path) for path in paths]
    for architecture, encoders in ROWS:
        processor, model = tiny.build(architecture, encoders, {k: str(v) for k, v in own_backbones.items()})
        folder = folders[architecture, encoders] = root / f"{architecture}-{encoders}"
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "posts.json").write_text(json.dumps(posts))
        save_file({"logits": logits(model, processor(**posts))}, folder / "before.safetensors")
    for path in own_backbones.values():
        shutil.rmtree(path)
    for trust in (False, True):
        argument = json.dumps([[str(folder) for folder in folders.values()], trust, trust])
        environment = os.environ | {"PYTHONPATH": "" if trust else str(Path(__file__).parents[1])}
        subprocess.run([sys.executable, "-c", LOADER, argument], check=True, cwd=root, env=environment)
    return folders


@every_row
@pytest.mark.parametrize("trust", [False, True], ids=["package", "trust_remote_code"])
def test_1_loads_in_a_fresh_process(architecture, encoders, saved, trust):
    folder = saved[architecture, encoders]
    before, after = load_file(folder / "before.safetensors"), load_file(folder / f"{trust}.safetensors")
    torch.testing.assert_close(after["logits"], before["logits"], rtol=0, atol=0)
    assert after["fused"].shape[0] == len(before["logits"])


@every_row
def test_1_loads_here(architecture, encoders, saved):
    folder = saved[architecture, encoders]
    row = ARCHITECTURES[architecture]
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert type(model) is row.classifier
    assert type(AutoModel.from_pretrained(folder)) is row.model
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is row.processor
    assert not any(info.values()), info
    batch = processor(**json.loads((folder / "posts.json").read_text()))
    torch.testing.assert_close(
        logits(model, batch), load_file(folder / "before.safetensors")["logits"], rtol=0, atol=0
    )
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}


@every_row
def test_1_writes_safetensors_only_and_no_path(architecture, encoders, saved, backbones):
    folder = saved[architecture, encoders]
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    config = (folder / "config.json").read_text() + (folder / "processor_config.json").read_text()
    assert str(folder.parent) not in config


# ---------------------------------------------------------------------------------------------------------------- 2


@every_row
def test_2_logits_do_not_depend_on_the_batch(built):
    processor, model = built
    posts = tiny.posts()
    together = logits(model, processor(**posts))
    for row in range(len(posts["text"])):
        alone = processor(**{name: values[row] for name, values in posts.items()})
        torch.testing.assert_close(logits(model, alone)[0], together[row], rtol=0, atol=1e-5)
    order = [4, 2, 0, 5, 1, 3]
    shuffled = processor(**{name: [values[row] for row in order] for name, values in posts.items()})
    torch.testing.assert_close(logits(model, shuffled), together[order], rtol=0, atol=1e-5)


def pad(batch: dict, tokens: int, slots: int) -> dict:
    """The same posts with more padding, filled with other words and other pixels."""
    padded = dict(batch)
    for name in ("input_ids", "aspect_input_ids"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, tokens), value=3)
    for name in ("attention_mask", "aspect_attention_mask"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, tokens))
    count, _, *shape = batch["pixel_values"].shape
    noise = torch.randn(count, slots, *shape)
    padded["pixel_values"] = torch.cat([batch["pixel_values"], noise], 1)
    padded["image_mask"] = torch.nn.functional.pad(batch["image_mask"], (0, slots))
    return padded


# ---------------------------------------------------------------------------------------------------------------- 3


@every_row
def test_3_missing_parts_and_padding(built):
    processor, model = built
    posts = {
        "text": ["good day", None, "", "good day", "good day", None],
        "images": [
            [tiny.picture(1)],
            [tiny.picture(1)],
            [tiny.picture(1)],
            [],
            [tiny.picture(i) for i in range(3)],
            [],
        ],
        "aspect": ["coffee", "coffee", None, None, "coffee", None],
    }
    batch = processor(**posts)
    scores = logits(model, batch)
    assert scores.isfinite().all()
    torch.testing.assert_close(logits(model, pad(batch, tokens=5, slots=2)), scores, rtol=0, atol=1e-5)
    without_aspect = processor(text=posts["text"], images=posts["images"])
    assert logits(model, without_aspect).isfinite().all()


@every_row
def test_3_a_batch_without_any_image_or_any_text_can_be_trained_on(built):
    processor, model = built
    model.train()
    for part in ({"text": ["good day", "bad day"]}, {"images": [[tiny.picture(0)], [tiny.picture(1)]]}):
        batch = processor(**part)
        model.zero_grad()
        model(**batch, labels=torch.tensor([0, 2])).loss.backward()
        grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert grads
        assert all(grad.isfinite().all() for grad in grads)


# ---------------------------------------------------------------------------------------------------------------- 4


def train_steps(model, batch, labels, steps: int, lr: float = 1e-2) -> None:
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        decay.step()
    model.eval()


@every_row
@pytest.mark.parametrize("frozen", [(), ("text",), ("image",), ("text", "image")], ids=lambda names: "+".join(names))
def test_4_gradients_reach_all_but_the_frozen(architecture, encoders, backbones, frozen):
    processor, model = tiny.build(architecture, encoders, backbones, **{f"freeze_{name}": True for name in frozen})
    batch, labels = processor(**tiny.posts()), torch.arange(6) % 3
    kept = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if any(f".{part}_encoder." in name for part in frozen)
    }
    assert len(model.frozen_encoders()) == len(frozen)
    train_steps(model, batch, labels, steps=3)
    model.train()
    for encoder in model.frozen_encoders():
        assert not any(module.training for module in encoder.modules())
    for name, value in kept.items():
        assert torch.equal(model.state_dict()[name], value), name
    model.zero_grad()
    # several draws of dropout, so that a zero is no accident
    for _ in range(3):
        model(**batch, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        if any(f".{part}_encoder." in name for part in frozen):
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@every_row
def test_4_freezing_survives_loading(architecture, encoders, backbones, tmp_path):
    _, model = tiny.build(architecture, encoders, backbones, freeze_text=True, freeze_image=True)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).train()
    names = {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad}
    assert names == {name for name, _ in loaded.named_parameters() if "_encoder." in name}


# ---------------------------------------------------------------------------------------------------------------- 5


@every_row
@torch.no_grad()
def test_5_cached_features_give_the_same_logits(built):
    processor, model = built
    batch = dict(processor(**tiny.posts()))
    want = logits(model, batch)
    text_features, _ = model.encode_text(batch["input_ids"], batch["attention_mask"], None)
    image_features, _ = model.encode_images(batch["pixel_values"], batch["image_mask"], None)
    batch["text_features"], batch["image_features"] = text_features, image_features
    for removed in (["input_ids"], ["pixel_values"], ["input_ids", "pixel_values"]):
        cached = {name: value for name, value in batch.items() if name not in removed}
        if "input_ids" not in removed:
            del cached["text_features"]
        if "pixel_values" not in removed:
            del cached["image_features"]
        torch.testing.assert_close(logits(model, cached), want, rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- 6


@every_row_slowly
def test_6_overfits_16_posts_and_is_deterministic(architecture, encoders, backbones):
    models = []
    for _ in range(2):
        processor, model = tiny.build(architecture, encoders, backbones, num_labels=4)
        words = ["good", "bad", "plain", "coffee"]
        batch = processor(
            text=[f"the day was {words[i % 4]}" for i in range(16)], images=[[tiny.picture(i)] for i in range(16)]
        )
        labels = torch.tensor([(i + i // 4) % 4 for i in range(16)])  # text alone gets 1 in 4 right
        train_steps(model, batch, labels, steps=10)
        models.append(model)
    one, other = (model.state_dict() for model in models)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # whether it can fit is the question, not how well it generalises
    train_steps(model, batch, labels, steps=70)
    assert (logits(model, batch).argmax(-1) == labels).all()


# ---------------------------------------------------------------------------------------------------------------- 7


@every_row
def test_7_bf16_autocast(built):
    processor, model = built
    batch = processor(**tiny.posts())
    want = logits(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = model(**batch, labels=torch.arange(6) % 3)
    assert got.loss.dtype == torch.float32
    torch.testing.assert_close(got.logits.float(), want, rtol=0.1, atol=0.1)


@every_row_slowly
def test_7_export_and_compile(built):
    processor, model = built
    batch = dict(processor(**tiny.posts()))
    want = logits(model, batch)
    with torch.no_grad():
        program = torch.export.export(model, (), batch, strict=False)
        torch.testing.assert_close(program.module()(**batch).logits, want, rtol=0, atol=1e-5)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(logits(compiled, batch), want, rtol=0, atol=1e-5)


@every_row
def test_7_gradient_checkpointing(built, encoders):
    processor, model = built
    if encoders == "own":
        with pytest.raises(ValueError, match="trained transformer or timm backbone"):
            model.activation_checkpointing_enable()
        return
    batch, labels = processor(**tiny.posts()), torch.arange(6) % 3
    grads = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(0)
        model.train().zero_grad()
        model(**batch, labels=labels).loss.backward()
        grads.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    backbone = model.base_model.text_encoder.backbone
    assert backbone.is_activation_checkpointing
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6)
