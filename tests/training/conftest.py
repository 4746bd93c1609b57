"""Trainers of a few posts, and runs that are interrupted."""

import pytest
import tiny
import torch
from small_runs import Killed
from transformers import set_seed

from mmsent.training.arguments import RunArguments
from mmsent.training.trainer import MultimodalTrainer


@pytest.fixture
def make_trainer(tmp_path, backbones):
    """Return a function that makes a trainer of six posts for four epochs of two steps, the same at every call.

    Without `dropout` nothing is random, and no post depends on the others of its batch.
    """

    def make_trainer(dropout=True, encoders="transformers", class_weights=None, **arguments) -> MultimodalTrainer:
        processor, model = tiny.build("comn", encoders, backbones, standardize=False)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout) and not dropout:
                module.p = 0.0
        batch = processor(**tiny.posts())
        rows = [{name: value[row] for name, value in batch.items()} | {"labels": row % 3} for row in range(6)]
        defaults = {"num_train_epochs": 4, "per_device_train_batch_size": 3, "learning_rate": 1e-3}
        defaults |= {"weight_decay": 0.1, "eval_strategy": "no", "save_strategy": "no"}
        defaults |= {"load_best_model_at_end": False, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(output_dir=str(tmp_path), **defaults | arguments)
        set_seed(args.seed)
        return MultimodalTrainer(model, args, train_dataset=rows, eval_dataset=rows, class_weights=class_weights)

    return make_trainer


@pytest.fixture
def kill(monkeypatch):
    """Return a function that makes the n-th call of a function end the run."""

    def kill(owner, name: str, number: int = 1):
        function, calls = getattr(owner, name), []

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == number:
                raise Killed
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return kill
