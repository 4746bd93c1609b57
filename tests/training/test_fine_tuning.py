"""What fine-tuning can be told: stages of the encoders, LoRA, weights of classes, smoothed labels."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoProcessor, TrainerCallback, set_seed

from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import RunArguments
from mmsent.training.lora import add_adapter, save_adapter
from mmsent.training.run_folder import checkpoints
from mmsent.training.trainer import MultimodalTrainer
from train import class_weights

PARTS = ("text_encoder", "image_encoder")


def part_of(name: str) -> str:
    return next((part for part in PARTS if f".{part}." in name), "rest")


def rows_of(processor) -> list[dict]:
    batch = processor(**tiny.posts())
    return [{name: value[row] for name, value in batch.items()} | {"labels": row % 3} for row in range(6)]


@pytest.fixture
def make_trainer(backbones):
    """A trainer of six posts for three epochs of two steps, the same at every call."""

    def make_trainer(folder, *callbacks, encoders="timm", lora=None, weights=None, config=None, **arguments):
        processor, model = tiny.build("comn", encoders, backbones, **config or {})
        if lora is not None:
            torch.manual_seed(0)
            model = add_adapter(model, lora)
        defaults = {"num_train_epochs": 3, "per_device_train_batch_size": 3, "learning_rate": 1e-2}
        defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "weight_decay": 0.1}
        args = RunArguments(output_dir=str(folder), **defaults | arguments)
        set_seed(args.seed)
        rows = rows_of(processor)
        return MultimodalTrainer(
            model=model,
            args=args,
            train_dataset=rows,
            eval_dataset=rows,
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
            callbacks=list(callbacks),
            class_weights=weights,
        )

    return make_trainer


class Killed(BaseException):
    """Ends a training where nothing can tidy up after it."""


class KillAt(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


class Watch(TrainerCallback):
    """Which parts changed in each epoch, running statistics included, and which encoders were in training mode."""

    def __init__(self):
        self.changed, self.modes = [], []

    def on_epoch_begin(self, args, state, control, model, **kwargs):
        self.before = {name: value.clone() for name, value in model.state_dict().items()}

    def on_epoch_end(self, args, state, control, model, **kwargs):
        now = model.state_dict().items()
        self.changed.append({part_of(name) for name, value in now if not torch.equal(value, self.before[name])})

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        base = model.base_model
        self.modes.append({part for part in PARTS if getattr(base, part).backbone.training})


# ------------------------------------------------------------------------------------------------------------- stages


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [{*PARTS, "rest"}] * 3),
        ({"image_from_epoch": 1}, [{"text_encoder", "rest"}] + [{*PARTS, "rest"}] * 2),
        (
            {"text_from_epoch": 2, "image_from_epoch": 1},
            [{"rest"}, {"image_encoder", "rest"}, {*PARTS, "rest"}],
        ),
        (
            {"image_from_epoch": 1, "rest_until_epoch": 2},
            [{"text_encoder", "rest"}, {*PARTS, "rest"}, {"text_encoder"}],
        ),
    ],
)
def test_an_encoder_that_is_not_yet_trained_is_as_if_frozen(make_trainer, tmp_path, arguments, expected):
    """The image encoder is a ResNet: its BatchNorm would move with learning rate zero too."""
    watch = Watch()
    saving = {"save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(tmp_path, watch, **saving, **arguments, config={"standardize": False})
    trainer.train()
    assert watch.changed == expected
    assert watch.modes == [parts - {"rest"} for parts in expected for _ in range(2)]


def test_the_image_encoder_has_a_rate_of_its_own(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, text_learning_rate=1e-5, image_learning_rate=0.0)
    rates = {group["part"]: group["lr"] for group in trainer.create_optimizer().param_groups}
    assert rates == {"text": 1e-5, "image": 0.0, "rest": 1e-2}


STEPS = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"image_from_epoch": 1, "text_from_epoch": 1.5}, {"lora": 2}], ids=str)
def test_resumed_exactly(make_trainer, tmp_path, settings):
    """In the middle of an epoch, before and after stages begin; of an adapter, from the adapter alone."""
    straight = make_trainer(tmp_path / "straight", **STEPS, **settings)
    straight.train()
    folder, found = tmp_path / "killed", []
    for step in (1, 4, None):
        trainer = make_trainer(folder, *([] if step is None else [KillAt(step)]), **STEPS, **settings)
        try:
            trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
        except Killed:
            found = checkpoints(folder)
    assert step is None
    assert trainer.state.global_step == 6
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
    assert trainer.state.best_metric == straight.state.best_metric
    if "lora" in settings:
        assert not (checkpoints(folder)[-1] / "model.safetensors").exists()


# --------------------------------------------------------------------------------------------------------------- LoRA


def adapted(architecture: str, encoders: str, backbones, **config):
    """A model with an adapter after three steps of training, and a batch."""
    processor, model = tiny.build(architecture, encoders, backbones, **config)
    torch.manual_seed(0)
    model = add_adapter(model, rank=4)
    batch = dict(processor(**tiny.posts())) | {"labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model, batch


@torch.no_grad()
def logits(model, batch) -> torch.Tensor:
    return model.eval()(**batch).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("encoders", ["transformers", pytest.param("timm", marks=pytest.mark.slow)])
def test_an_adapter_is_loaded_and_merged(architecture, encoders, backbones, tmp_path):
    processor, plain = tiny.build(architecture, encoders, backbones)
    model, batch = adapted(architecture, encoders, backbones)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    wanted = logits(model, batch)
    assert (wanted - logits(plain, batch)).abs().max() > 1e-3  # it has learned
    save_adapter(model, tmp_path / "adapter")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded, batch), wanted, rtol=0, atol=1e-5)
    by_peft = PeftModel.from_pretrained(tiny.build(architecture, encoders, backbones)[1], tmp_path / "adapter")
    torch.testing.assert_close(logits(by_peft, batch), wanted, rtol=0, atol=1e-5)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, batch), wanted, rtol=0, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    assert set(load_file(tmp_path / "merged" / "model.safetensors")) == set(plain.state_dict())
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(again, batch), wanted, rtol=0, atol=1e-5)


def test_what_an_adapter_trains(backbones):
    _, plain = tiny.build("mdse", "transformers", backbones)
    model, _ = adapted("mdse", "transformers", backbones)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inside = {name for name in trained if "_encoder." in name}
    assert inside
    assert all(".lora_" in name for name in inside)
    for names in (("query", "value"), ("q_proj", "v_proj")):
        assert all(any(f".{name}.lora_" in key for key in inside) for name in names)
    whole = {name.partition(".modules_to_save.default.") for name in trained - inside}
    found = {f"{before.removeprefix('base_model.model.')}.{after}" for before, _, after in whole}
    assert found == {name for name, _ in plain.named_parameters() if "_encoder." not in name}


def test_an_encoder_without_attention_keeps_its_weights_and_statistics(backbones):
    _, plain = tiny.build("comn", "timm", backbones)
    model, _ = adapted("comn", "timm", backbones)
    assert not model.get_base_model().comn.image_encoder.training
    after = model.merge_and_unload().state_dict()
    statistics = [name for name in after if "running_mean" in name]
    assert len(statistics) > 3
    for name, value in plain.state_dict().items():
        changed = not torch.equal(value, after[name])
        if ".image_encoder." in name:
            assert not changed, name
        elif ".image_norm." in name and "running" in name:
            assert changed, name


def test_timm_attention_is_adapted_and_own_encoders_are_trained_whole(backbones, tmp_path):
    from transformers import TimmWrapperConfig, TimmWrapperModel

    pretrained_cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    vit = TimmWrapperConfig(architecture="test_vit", pretrained_cfg=pretrained_cfg, num_labels=1)
    vit.model_args = {"img_size": 32}
    TimmWrapperModel(vit).save_pretrained(tmp_path / "vit")
    row = ARCHITECTURES["comn"]
    processor = row.processor.from_backbones("word_vectors", str(tmp_path / "vit"), [" ".join(tiny.WORDS)])
    model = row.classifier.from_backbones(
        "word_vectors", str(tmp_path / "vit"), processor.tokenizer, processor.image_size
    )
    model = add_adapter(model, rank=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(".qkv.lora_A." in name for name in trained)
    assert any("text_encoder.modules_to_save.default.backbone.weight" in name for name in trained)


def test_lora_needs_attention(backbones):
    for encoders, config in (("own", {}), ("timm", {"freeze_text": True})):
        _, model = tiny.build("comn", encoders, backbones, **config)
        with pytest.raises(ValueError, match="lora_rank=4: no encoder that is trained has attention"):
            add_adapter(model, rank=4)


def test_a_run_with_an_adapter(run, tmp_path, backbones, standins):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    argv = ["--dataset", "twitter2015", "--data_dir", str(folder), "--lora_rank", "4", "--num_train_epochs", "3"]
    argv += ["--text_encoder", backbones["bert"], "--image_encoder", backbones["vit"], "--learning_rate", "0.01"]
    made = run(tmp_path / "run", *argv)
    assert made["parameters"]["trainable"] < made["parameters"]["total"] / 2
    processor = AutoProcessor.from_pretrained(tmp_path / "run")
    batch = processor(**tiny.posts())
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert not [name for name in merged.state_dict() if "lora" in name]
    adapter = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "adapter")
    torch.testing.assert_close(logits(merged, batch), logits(adapter, batch), rtol=0, atol=1e-5)
    texts = [json.loads(line) for line in (tmp_path / "run" / "predictions_test.jsonl").read_text().splitlines()]
    assert len(texts) == 2


@pytest.mark.slow
def test_both_folders_load_where_the_package_is_not(backbones, tmp_path):
    model, batch = adapted("comn", "transformers", backbones)
    wanted = logits(model, batch)
    save_adapter(model, tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    torch.save({"batch": batch, "wanted": wanted}, tmp_path / "batch.pt")
    code = (
        "import sys, torch; from transformers import AutoModelForSequenceClassification as Auto\n"
        "given = torch.load('batch.pt')\n"
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=True).eval()\n"
        "assert 'modeling' not in sys.modules\n"
        "with torch.no_grad(): torch.testing.assert_close(model(**given['batch']).logits, given['wanted'])\n"
    )
    for folder in ("merged", "adapter"):
        environment = os.environ | {"PYTHONPATH": "", "HF_MODULES_CACHE": str(tmp_path / "modules")}
        subprocess.run([sys.executable, "-P", "-c", code, folder], cwd=tmp_path, env=environment, check=True)


# ------------------------------------------------------------------------------------------------------------- losses


def test_weights_of_the_classes():
    assert class_weights(None, [0, 1], 2) is None
    assert class_weights(["1", "2.5"], [0, 1], 2) == [1.0, 2.5]
    assert class_weights(["balanced"], [0, 0, 0, 1], 2) == pytest.approx([2 / 3, 2])
    assert class_weights(["balanced"], [0, 0, 2, 2], 3) == [1.0, 1.0, 1.0]  # no post of class 1
    with pytest.raises(ValueError, match="class_weights=equal: 'balanced', or one number a class"):
        class_weights(["equal"], [0], 1)


LABELS = torch.tensor([0, 1, 2, 0, 0, 0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_them(architecture, backbones):
    """By how much the loss changes is what cross-entropy changes by: losses that an architecture adds stay."""
    processor, model = tiny.build(architecture, "own", backbones)
    batch = dict(processor(**tiny.posts())) | {"labels": LABELS}
    with torch.no_grad():
        output = model(**batch)
        model.set_loss([1.0, 2.0, 5.0], 0.2)
        after = model(**batch).loss
    plain = F.cross_entropy(output.logits, LABELS)
    wanted = F.cross_entropy(output.logits, LABELS, torch.tensor([1.0, 2.0, 5.0]), label_smoothing=0.2)
    assert after - output.loss == pytest.approx((wanted - plain).item(), abs=1e-5)
    assert abs(wanted - plain) > 1e-3


def test_trainer_leaves_the_loss_to_the_model(backbones, tmp_path):
    """Its own smoothing takes the labels away from the model, and MDSE's contrastive loss with them."""
    processor, model = tiny.build("mdse", "own", backbones)
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", label_smoothing_factor=0.1)
    trainer = MultimodalTrainer(model, args, train_dataset=rows_of(processor), eval_dataset=rows_of(processor))
    batch = dict(processor(**tiny.posts())) | {"labels": LABELS}
    with torch.no_grad():
        loss, output = trainer.compute_loss(model.eval(), dict(batch), return_outputs=True)
    smoothed = F.cross_entropy(output.logits, LABELS, label_smoothing=0.1)
    assert loss == model(**batch).loss
    assert loss - smoothed > 0.1  # the contrastive loss


def test_weights_reach_the_training(make_trainer, tmp_path):
    """A class of no weight is never learned."""
    settings = {"save_strategy": "no", "load_best_model_at_end": False, "eval_strategy": "no", "num_train_epochs": 12}
    predicted = {}
    for name, weights in (("equal", None), ("without class 2", [1.0, 1.0, 0.0])):
        trainer = make_trainer(tmp_path, weights=weights, encoders="own", **settings)
        trainer.train()
        predicted[name] = trainer.predict(trainer.eval_dataset).predictions
    assert not np.allclose(predicted["equal"], predicted["without class 2"])
    assert 2 not in predicted["without class 2"].argmax(-1)


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        ({}, [1.0, 2.0], r"class_weights=\[1.0, 2.0\]: give one number for each of negative, neutral, positive"),
        (
            {"loss": "rank_hinge"},
            [1.0] * 3,
            "class_weights and .* apply to cross-entropy.*rank_hinge",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(backbones, config, weights, message):
    head = {"head": "label_embedding", "label_embedding": "learned"} if config else {}
    _, model = tiny.build("gated_fusion", "own", backbones, **head, **config)
    with pytest.raises(ValueError, match=message):
        model.set_loss(weights)
    model.set_loss(None, 0.0)
