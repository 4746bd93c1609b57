"""Private parts of transformers' Trainer that this project uses."""

import ast
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from transformers import Trainer, TrainerCallback

from mmsent.training.exact_resume import PRIVATE_ATTRIBUTES, TESTED_TRANSFORMERS

ADVICE = (
    f"transformers {transformers.__version__} does not use {', '.join(PRIVATE_ATTRIBUTES)} as {TESTED_TRANSFORMERS} "
    "does, with which exact resuming was tested. Look in Trainer for the loss since the last log, the sum of the "
    "losses before it and the step of that log, and correct src/mmsent/training/exact_resume.py."
)


def private_names() -> set[str]:
    """Return the names of all private methods and attributes of Trainer."""
    tree = ast.parse(Path(transformers.trainer.__file__).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            names.add(node.attr)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_only_three_private_attributes_are_used():
    used = set()
    for path in [tiny.ROOT / "train.py", *(tiny.ROOT / "src" / "mmsent" / "training").glob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        used |= {(path.name, name) for name in names & private_names()}
    assert used == {("exact_resume.py", name) for name in PRIVATE_ATTRIBUTES}


def test_the_installed_transformers_has_the_private_attributes(make_trainer):
    """Trainer must set them before on_train_begin, add up losses in them, and empty the first at a log."""
    values = []

    class Watch(TrainerCallback):
        def note(self, args, state, control, **kwargs):
            loss, *others = (getattr(trainer, name, None) for name in PRIVATE_ATTRIBUTES)
            values.append((loss.item() if isinstance(loss, torch.Tensor) else None, *others))

        on_train_begin = on_step_end = on_train_end = note

    ours = make_trainer(max_steps=3, logging_strategy="steps", logging_steps=2)
    trainer = Trainer(ours.model, ours.args, train_dataset=ours.train_dataset, callbacks=[Watch()])
    trainer.train()
    (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    loss = 2 * log["loss"]  # It is the mean of two steps.
    first, third = values[1][0], values[3][0]
    expected = [(0.0, 0.0, 0), (first, 0.0, 0), (loss, 0.0, 0), (third, loss, 2), (third, loss + third, 2)]
    assert values == [pytest.approx(row) for row in expected], ADVICE
