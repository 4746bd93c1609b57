"""Stages of training, and learning rates of the parts of a model."""

import pytest
import torch
from transformers import TrainerCallback


class ChangedParts(TrainerCallback):
    """Records which parts of a model changed in each epoch."""

    def __init__(self):
        self.by_epoch = []

    def on_epoch_begin(self, args, state, control, model, **kwargs):
        self.before = {name: value.clone() for name, value in model.state_dict().items()}

    def on_epoch_end(self, args, state, control, model, **kwargs):
        values = model.state_dict().items()
        names = [name for name, value in values if not torch.equal(value, self.before[name])]
        self.by_epoch.append({"text" if "text_encoder" in name else "rest" for name in names})


@pytest.fixture
def changed_parts(make_trainer):
    def changed_parts(**arguments) -> list[set[str]]:
        trainer, changes = make_trainer(**arguments), ChangedParts()
        trainer.add_callback(changes)
        trainer.train()
        return changes.by_epoch

    return changed_parts


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
def test_stages(changed_parts, arguments, expected, schedule):
    assert changed_parts(lr_scheduler_type=schedule, **arguments) == expected


def test_the_text_encoder_has_its_own_learning_rate(changed_parts):
    assert changed_parts(text_learning_rate=0.0) == [{"rest"}] * 4
    expected = [set()] + [{"text"}] * 3
    assert changed_parts(text_learning_rate=1e-3, learning_rate=0.0, text_from_epoch=1) == expected


@pytest.mark.parametrize("arguments", [{"text_from_epoch": 1}, {"lr_decay": 0.9}])
def test_stages_and_decay_need_a_schedule_of_the_step(changed_parts, arguments):
    with pytest.raises(ValueError, match="lr_scheduler_type=.*cannot be combined with stages or lr_decay"):
        changed_parts(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch", **arguments)


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
