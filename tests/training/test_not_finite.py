"""Losses and scores that are NaN or infinite end a run, however it is launched."""

import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from safetensors.torch import load_file
from small_runs import TWO_PROCESSES, start_script, write_corpus
from tiny import ROOT

from mmsent.dataset_scripts.common_schema import features
from mmsent.training.posts import RunPosts
from mmsent.training.run_folder import checkpoints
from mmsent.training.run_report import score_splits


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(tmp_path, value):
    rows = {"id": ["a", "b"], "text": ["good", "bad"], "aspect": [None, None], "images": [[], []]}
    rows |= dict.fromkeys(("label", "text_label", "image_label"), [0, 1])
    splits = {split: Dataset.from_dict(rows, features()) for split in ("train", "validation", "test")}
    logits = {"validation": np.zeros((2, 3)), "test": np.array([[0, 1, 2], [0, value, 1]])}
    trainer = SimpleNamespace(
        predict=lambda posts: next(
            SimpleNamespace(predictions=logits[split]) for split in logits if splits[split] is posts
        ),
        is_world_process_zero=lambda: True,
    )
    with pytest.raises(ValueError, match="test: the scores of 1 posts are not finite: b"):
        score_splits(trainer, RunPosts(splits, splits, {}, streamed=False), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [{"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}, {"bf16": True}],
    ids=["accumulated", "bf16"],
)
def test_a_loss_that_is_not_finite_names_its_step(make_trainer, tmp_path, arguments):
    trainer = make_trainer(save_strategy="steps", save_steps=1, save_total_limit=None, **arguments)
    step, calls = trainer.training_step, []
    last = 1 + 2 * arguments.get("gradient_accumulation_steps", 1)  # the first batch of the third step

    def spoil(model, inputs, *args):
        calls.append(inputs)
        if len(calls) == last:
            next(iter(trainer.model.classifier.parameters())).data.fill_(float("nan"))
        return step(model, inputs, *args)

    trainer.training_step = spoil
    with pytest.raises(ValueError, match="step 3: the loss is nan"):
        trainer.train()
    assert len(calls) == last
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.slow
def test_one_of_two_processes_stops_both(tmp_path):
    statement = (
        'os.environ["RANK"] == "1" and self.state.global_step == 2 and '
        'next(iter(self.model.classifier.parameters())).data.fill_(float("nan"))'
    )
    owner = "from mmsent.training.trainer import MultimodalTrainer as owner"
    script = start_script(tmp_path, owner, "training_step", statement)
    argv = ["--dataset", str(write_corpus(tmp_path / "corpus")), "--output_dir", str(tmp_path / "run")]
    argv += ["--per_device_train_batch_size", "4", "--num_train_epochs", "1", "--report_to", "none"]
    argv += ["--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps", "--eval_steps", "1"]
    argv += ["--save_total_limit", "9", "--use_cpu", "True", "--disable_tqdm", "true"]
    result = subprocess.run(
        [*TWO_PROCESSES, script, *argv], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120
    )
    assert result.returncode != 0
    assert "step 3: the loss is nan" in result.stderr
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-1", "checkpoint-2"]
    for path in checkpoints(tmp_path / "run"):
        assert all(weight.isfinite().all() for weight in load_file(path / "model.safetensors").values())
    assert not (tmp_path / "run" / "run.json").exists()
