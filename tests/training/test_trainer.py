"""Stages of training, and what only training does to a post."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TimmWrapperConfig, TimmWrapperModel, TrainerCallback, set_seed

from mmsent.training.arguments import RunArguments
from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.run_folder import checkpoints
from mmsent.training.trainer import MultimodalTrainer, share_batch_norm, text_lengths


@pytest.fixture
def make_trainer(tmp_path, backbones):
    """A trainer of six posts for four epochs of two steps, the same at every call. Without `dropout` nothing is random
    and no post depends on the others of its batch."""

    def make_trainer(dropout: bool = True, **arguments) -> MultimodalTrainer:
        processor, model = tiny.build("comn", "transformers", backbones, standardize=False)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout) and not dropout:
                module.p = 0.0
        batch = processor(**tiny.posts())
        rows = [{name: value[row] for name, value in batch.items()} | {"labels": row % 3} for row in range(6)]
        defaults = {
            "num_train_epochs": 4,
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
        }
        defaults |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(output_dir=str(tmp_path), **defaults | arguments)
        set_seed(args.seed)
        return MultimodalTrainer(model, args, train_dataset=rows, eval_dataset=rows)

    return make_trainer


@pytest.fixture
def train(make_trainer):
    """Trains; returns which parts changed in each epoch."""

    def train(**arguments):
        trainer = make_trainer(**arguments)
        model, changed, state = trainer.model, [], {}

        class Watch(TrainerCallback):
            def on_epoch_begin(self, *_, **__):
                state.update({name: value.clone() for name, value in model.state_dict().items()})

            def on_epoch_end(self, *_, **__):
                names = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
                changed.append({"text" if "text_encoder" in name else "rest" for name in names})

        trainer.add_callback(Watch)
        trainer.train()
        return changed

    return train


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [{"text", "rest"}] * 4),
        ({"text_from_epoch": 2}, [{"rest"}] * 2 + [{"text", "rest"}] * 2),  # CLMLF
        ({"text_from_epoch": 2, "rest_until_epoch": 2}, [{"rest"}] * 2 + [{"text"}] * 2),  # MDSE's code
        ({"rest_until_epoch": 1}, [{"text", "rest"}] + [{"text"}] * 3),
    ],
)
def test_stages(train, arguments, expected, schedule):
    assert train(lr_scheduler_type=schedule, **arguments) == expected


def test_the_text_encoder_has_a_rate_of_its_own(train):
    assert train(text_learning_rate=0.0) == [{"rest"}] * 4
    assert train(text_learning_rate=1e-3, learning_rate=0.0, text_from_epoch=1) == [set()] + [{"text"}] * 3


def test_stages_need_a_schedule_of_the_step(train):
    with pytest.raises(ValueError, match="lr_scheduler_type=.*cannot be combined with stages"):
        train(text_from_epoch=1, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch")


class Rows(list):
    column_names = ["id", "text", "images", "text_translation"]

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


@pytest.fixture
def rows():
    gradient = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))  # dark on the left, bright on the right
    image = Image.fromarray(np.stack([gradient] * 3, -1))
    return Rows(
        [
            {"id": "1", "text": "good day", "images": [image], "text_translation": "fine day"},
            {"id": "2", "text": "bad day", "images": [], "text_translation": None},
        ]
    )


# --------------------------------------------------------------------------------------------------- learning rates


def rates(trainer) -> list[float]:
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


def test_exponential_decay(make_trainer):
    trainer = make_trainer(lr_decay=0.5, lr_decay_steps=3, logging_strategy="steps", logging_steps=1)
    trainer.train()
    assert rates(trainer) == [1e-3] * 3 + [5e-4] * 3 + [2.5e-4] * 2
    linear = make_trainer(
        lr_decay=0.5, lr_decay_steps=3, logging_strategy="steps", logging_steps=1, lr_scheduler_type="linear"
    )
    linear.train()
    assert rates(linear) == pytest.approx(
        [1e-3 * (1 - step / 8) * factor for step, factor in enumerate([1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])]
    )


def test_decay_needs_a_schedule_of_the_step(make_trainer):
    with pytest.raises(ValueError, match="lr_scheduler_type=.*cannot be combined with stages or lr_decay"):
        make_trainer(lr_decay=0.9, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch").train()


@pytest.mark.parametrize("optim", ["adamw_torch", "rmsprop", "sgd"])
def test_optimizers_train(make_trainer, optim):
    trainer = make_trainer(optim=optim, num_train_epochs=8, logging_strategy="epoch")
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]


# ------------------------------------------------------------------------------------------------- Trainer's defects


def test_vision_weights_come_back(make_trainer, tmp_path):
    """transformers#43701: resuming and best-model reload silently keep a ViT's weights as they are."""
    saving = {"save_strategy": "epoch", "eval_strategy": "epoch", "learning_rate": 1e-2}
    trainer = make_trainer(**saving, num_train_epochs=3, load_best_model_at_end=True, save_total_limit=None)
    trainer.compute_metrics = lambda _: {"accuracy": -trainer.state.epoch}  # the first is the best
    trainer.train()
    wanted = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    vision = [name for name in wanted if ".image_encoder." in name]
    assert len(vision) > 10
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, wanted[name]), name

    resumed = make_trainer(**saving)
    resumed._load_from_checkpoint(str(tmp_path / "checkpoint-6"))
    wanted = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_the_loss_does_not_grow_with_accumulation(make_trainer):
    """A loss that is a mean must be divided by the number of batches that are added up."""
    settings = {"num_train_epochs": 2, "logging_strategy": "steps", "logging_steps": 1, "optim": "sgd"}
    settings |= {"dropout": False}
    whole = make_trainer(**settings, per_device_train_batch_size=6)
    parts = make_trainer(**settings, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    for trainer in (whole, parts):
        trainer.train()
    for name in ("loss", "grad_norm"):
        one, other = ([entry[name] for entry in t.state.log_history if name in entry] for t in (whole, parts))
        assert len(one) == 2
        assert other == pytest.approx(one, rel=1e-4)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=0, atol=1e-6)


# --------------------------------------------------------------------------------------------------------- scale


@pytest.mark.slow
def test_batch_sizes_are_found(make_trainer, monkeypatch, tmp_path):
    """What an attempt with larger batches left behind must not be mistaken for a checkpoint of this run."""
    step = MultimodalTrainer.training_step

    def out_of_memory(self, model, inputs, *args):
        if len(inputs["labels"]) > 2 and self.state.global_step == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return step(self, model, inputs, *args)

    monkeypatch.setattr(MultimodalTrainer, "training_step", out_of_memory)
    trainer = make_trainer(
        auto_find_batch_size=True, num_train_epochs=1, save_strategy="steps", save_steps=1, save_total_limit=None
    )
    trainer.train()
    assert trainer._train_batch_size == 2
    assert trainer.state.global_step == 3
    states = [json.loads((path / "trainer_state.json").read_text()) for path in checkpoints(tmp_path)]
    assert [state["train_batch_size"] for state in states] == [2, 2, 2]


def test_bf16_and_checkpointed_activations(make_trainer):
    losses = []
    for more in ({}, {"activation_checkpointing": True}, {"bf16": True}):
        trainer = make_trainer(num_train_epochs=2, logging_strategy="steps", logging_steps=1, **more)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        encoder = trainer.model.base_model.text_encoder.backbone
        assert encoder.is_activation_checkpointing == ("activation_checkpointing" in more)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=0.05)
    assert losses[2] != losses[0]


@pytest.mark.parametrize("backbone", ["small_cnn", "test_resnet", "test_efficientnet"])
def test_batch_norm_of_several_gpus_is_shared(backbones, backbone, caplog):
    def shared(model):
        return [m for m in model.base_model.image_encoder.modules() if isinstance(m, torch.nn.SyncBatchNorm)]

    _, model = tiny.build("comn", "own", backbones)
    encoder, norm = model.base_model.image_encoder, model.base_model.image_norm
    if backbone != "small_cnn":
        encoder.backbone = TimmWrapperModel(TimmWrapperConfig(architecture=backbone, num_labels=1)).eval()
    names, images = list(model.state_dict()), torch.randn(2, 3, 64, 64)
    regions = encoder(images)
    one, cpus, gpus = (
        SimpleNamespace(world_size=size, process_index=0, device=torch.device(kind))
        for size, kind in ((1, "cuda"), (2, "cpu"), (2, "cuda"))
    )
    share_batch_norm(model, one)
    assert not caplog.text
    share_batch_norm(model, cpus)
    assert "on CPUs, 2 processes do not train the model that one would" in caplog.text
    model.config.freeze_image = True
    share_batch_norm(model, gpus)
    assert not shared(model)
    model.config.freeze_image = False
    share_batch_norm(model, gpus)
    assert shared(model)
    assert model.base_model.image_norm is norm
    assert list(model.state_dict()) == names
    # What timm's layers do after the norm is part of them, and stays.
    torch.testing.assert_close(encoder(images), regions, rtol=1e-5, atol=0)


def test_length_groups_pad_less(make_trainer):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 512).tolist()
    posts = Rows({"text": "a " * length} for length in lengths)

    def padding(strategy):
        trainer = make_trainer(train_sampling_strategy=strategy, per_device_train_batch_size=8)
        order = list(trainer._get_train_sampler(posts))
        assert sorted(order) == list(range(512))
        batches = [[lengths[row] for row in order[start : start + 8]] for start in range(0, 512, 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches) / sum(lengths)

    assert padding("random") > 0.5
    assert padding("group_by_length") < 0.1


def test_length_groups_are_of_the_whole_batch(make_trainer):
    """The order is that of the batch of a step, whatever number of processes and accumulations shares it."""
    posts = Rows({"text": "a " * (7 * n % 50)} for n in range(96))
    settings = {"train_sampling_strategy": "group_by_length"}
    whole = make_trainer(**settings, per_device_train_batch_size=8)._get_train_sampler(posts)
    parts = make_trainer(**settings, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    sampler = parts._get_train_sampler(posts)
    first = list(whole)
    assert list(sampler) == first
    whole.set_epoch(1)
    assert list(whole) != first


def test_lengths_of_every_kind_of_posts(rows):
    assert text_lengths(rows) == [8, 7]
    assert text_lengths(AugmentedPosts(rows, ["flip"], None, seed=0)) == [8, 7]
    assert text_lengths(torch.utils.data.Subset(rows, [1])) == [7]
    assert text_lengths([{"attention_mask": torch.tensor([1, 1, 0])}]) == [2]


def test_bucketed_predictions_stand_in_the_order_of_the_posts(make_trainer):
    plain = make_trainer(per_device_eval_batch_size=2)
    grouped = make_trainer(per_device_eval_batch_size=2, train_sampling_strategy="group_by_length")
    posts = plain.eval_dataset
    assert list(grouped._get_eval_sampler(posts)) != list(range(6))
    one, other = plain.predict(posts), grouped.predict(posts)
    np.testing.assert_allclose(other.predictions, one.predictions, atol=1e-5)
    assert other.label_ids.tolist() == one.label_ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert other.metrics["test_loss"] == pytest.approx(one.metrics["test_loss"], abs=1e-5)
