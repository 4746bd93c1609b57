"""Stages of training, and learning rates of the parts of a model."""

import pytest
import torch
from transformers import TrainerCallback

ENCODERS = ("text_encoder", "image_encoder")
TEXT, IMAGE, REST = {"text_encoder"}, {"image_encoder"}, {"rest"}
ALL = TEXT | IMAGE | REST


class Watch(TrainerCallback):
    """Records the parts that changed in each epoch, and the encoders in training mode at each step."""

    def __init__(self):
        self.changed, self.modes = [], []

    def on_epoch_begin(self, args, state, control, model, **kwargs):
        self.before = {name: value.clone() for name, value in model.state_dict().items()}

    def on_epoch_end(self, args, state, control, model, **kwargs):
        values = model.state_dict().items()
        names = [name for name, value in values if not torch.equal(value, self.before[name])]
        self.changed.append({next((e for e in ENCODERS if f".{e}." in name), "rest") for name in names})

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.modes.append({name for name in ENCODERS if getattr(model.base_model, name).backbone.training})


@pytest.fixture
def watch(make_trainer):
    """Return a function that trains and returns what a `Watch` recorded."""

    def watch(**arguments) -> Watch:
        trainer, watch = make_trainer(**arguments), Watch()
        trainer.add_callback(watch)
        trainer.train()
        return watch

    return watch


@pytest.mark.parametrize(
    "schedule", ["constant", *(pytest.param(name, marks=pytest.mark.slow) for name in ("linear", "cosine"))]
)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [ALL] * 4),
        ({"text_from_epoch": 2}, [IMAGE | REST] * 2 + [ALL] * 2),  # CLMLF
        ({"text_from_epoch": 2, "rest_until_epoch": 2}, [IMAGE | REST] * 2 + [TEXT] * 2),  # MDSE's code
        ({"rest_until_epoch": 1}, [ALL] + [TEXT] * 3),
        ({"image_from_epoch": 1}, [TEXT | REST] + [ALL] * 3),
        ({"text_from_epoch": 2, "image_from_epoch": 1}, [REST, IMAGE | REST, ALL, ALL]),
        ({"image_from_epoch": 1, "rest_until_epoch": 2}, [TEXT | REST, ALL, TEXT, TEXT]),
    ],
)
def test_a_part_does_not_change_outside_its_stage(watch, arguments, expected, schedule):
    """The image encoder is a ResNet, whose running statistics would change even with a learning rate of zero."""
    training = watch(encoders="timm", lr_scheduler_type=schedule, **arguments)
    assert training.changed == expected
    assert training.modes == [parts - REST for parts in expected for _ in range(2)]


def test_the_text_encoder_has_its_own_learning_rate(watch):
    assert watch(text_learning_rate=0.0).changed == [IMAGE | REST] * 4
    training = watch(text_learning_rate=1e-3, learning_rate=0.0, text_from_epoch=1)
    assert training.changed == [set()] + [TEXT] * 3


def test_the_image_encoder_has_its_own_learning_rate(make_trainer):
    trainer = make_trainer(text_learning_rate=1e-5, image_learning_rate=0.0)
    rates = {group["part"]: group["lr"] for group in trainer.create_optimizer().param_groups}
    assert rates == {"text": 1e-5, "image": 0.0, "rest": 1e-3}


@pytest.mark.parametrize("arguments", [{"text_from_epoch": 1}, {"lr_decay": 0.9}])
def test_stages_and_decay_need_a_schedule_of_the_step(watch, arguments):
    with pytest.raises(ValueError, match="lr_scheduler_type=.*cannot be combined with stages or lr_decay"):
        watch(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch", **arguments)


def test_exponential_decay(make_trainer):
    def rates(**arguments) -> list[float]:
        trainer = make_trainer(logging_strategy="steps", logging_steps=1, **arguments)
        trainer.train()
        return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]

    decay = {"lr_decay": 0.5, "lr_decay_steps": 3}
    assert rates(**decay) == [1e-3] * 3 + [5e-4] * 3 + [2.5e-4] * 2
    assert rates(lr_scheduler_type="linear", **decay) == pytest.approx(
        [1e-3 * (1 - step / 8) * factor for step, factor in enumerate([1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])]
    )
    # The text encoder has the first parameter group, whose rate is logged.
    assert rates(text_from_epoch=2) == [0.0] * 4 + [1e-3] * 4


def test_an_epoch_is_a_pass_over_the_posts_also_with_max_steps(make_trainer):
    """Six posts in batches of three are two steps, whatever the ratio of max_steps and num_train_epochs."""
    trainer = make_trainer(
        max_steps=8, num_train_epochs=12, text_from_epoch=3, logging_steps=1, logging_strategy="steps"
    )
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert rates == [0.0] * 6 + [1e-3] * 2
