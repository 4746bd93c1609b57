"""Interrupted training resumes exactly: weights, log and best checkpoint are those of an uninterrupted run."""

import json
import os
import resource
import signal
from unittest.mock import Mock

import pytest
import tiny
import torch
from datasets import Dataset
from small_runs import Killed, without_durations
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.trainer_pt_utils import safe_globals

from mmsent.training.arguments import RunArguments
from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.collator import PostCollator
from mmsent.training.run_folder import checkpoints, complete_checkpoint, step_of
from mmsent.training.trainer import MultimodalTrainer


class CallAt(TrainerCallback):
    """Calls a function at an event of one step."""

    def __init__(self, event: str, step: int, function):
        self.step, self.function = step, function
        setattr(self, event, self.call)

    def call(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.function()


def kill_at(event: str, step: int) -> CallAt:
    return CallAt(event, step, Mock(side_effect=Killed))


def make_posts(count: int = 11) -> Dataset:
    columns = {"id": [str(number) for number in range(count)], "label": [number % 3 for number in range(count)]}
    columns |= {"text_label": [None] * count, "image_label": [None] * count}
    return Dataset.from_dict(tiny.posts(count) | columns | {"text_translation": ["so good coffee"] * count})


@pytest.fixture
def make(backbones):
    """Return a function that makes a trainer of eleven augmented posts for three epochs of three steps, with dropout.
    The trainer is the same at every call."""

    def make(folder, *callbacks, patience=None, **arguments) -> MultimodalTrainer:
        processor, model = tiny.build("comn", "transformers", backbones, dropout=0.3)
        defaults = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        defaults |= {"learning_rate": 3e-3, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(output_dir=str(folder), **defaults | arguments)
        set_seed(args.seed)
        posts = make_posts()
        stop = [EarlyStoppingCallback(patience)] if patience is not None else []
        trainer = MultimodalTrainer(
            model=model,
            args=args,
            data_collator=PostCollator(processor),
            train_dataset=AugmentedPosts(posts, ["flip", "crop"], "text_translation", seed=5),
            eval_dataset=posts,
            callbacks=[*stop, *callbacks],
        )
        trainer.compute_metrics = lambda _: {"accuracy": 0.9 - 0.1 * abs(trainer.state.epoch - 2)}
        return trainer

    return make


@pytest.fixture
def straight(make, tmp_path) -> tuple[dict, list, tuple]:
    """What a run with the default settings gives without an interruption."""
    trainer = make(tmp_path / "straight")
    trainer.train()
    return outcome(trainer, tmp_path / "straight")


def names(folder) -> list[str]:
    return [path.name for path in checkpoints(folder)]


def resume(trainer: MultimodalTrainer, folder) -> None:
    """Train from the latest complete checkpoint, or from the beginning if there is none."""
    trainer.train(resume_from_checkpoint=True if checkpoints(folder) else None)


def outcome(trainer: MultimodalTrainer, folder) -> tuple[dict, list, tuple]:
    best = trainer.state.best_model_checkpoint
    best = best and os.path.relpath(best, folder)
    log = without_durations(trainer.state.log_history)
    return trainer.model.state_dict(), log, (trainer.state.global_step, trainer.state.best_metric, best)


def assert_same(one: tuple[dict, list, tuple], other: tuple[dict, list, tuple]) -> None:
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name
    assert one[1:] == other[1:]


SETTINGS = {
    "epochs": {},
    "workers": {"dataloader_num_workers": 1},
    "persistent workers": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    "within an epoch": {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2},
    # Losses are logged every four steps, across the ends of epochs. Nothing is evaluated.
    "between two logs": {
        **{"save_strategy": "steps", "save_steps": 2, "logging_strategy": "steps", "logging_steps": 4},
        **{"eval_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 5},
    },
    # Step 3 is the last of an epoch. Its checkpoint must not come before the log at the end of the epoch.
    "at the last step of an epoch": {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": False},
    "an incomplete last epoch": {
        **{"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "max_steps": 7},
        **{"logging_strategy": "steps", "logging_steps": 3},
    },
    "early stopping": {"patience": 2, "num_train_epochs": 6},
    "stages": {
        **{"text_from_epoch": 1, "rest_until_epoch": 2, "text_learning_rate": 1e-3, "lr_scheduler_type": "cosine"},
        **{"lr_decay": 0.5, "lr_decay_steps": 2},
    },
    "length groups": {"train_sampling_strategy": "group_by_length", "save_strategy": "steps", "save_steps": 2}
    | {"eval_strategy": "steps", "eval_steps": 2},
    "rmsprop": {"optim": "rmsprop", "lr_scheduler_type": "linear", "max_grad_norm": 0.5},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "within an epoch")) for n in SETTINGS]
)
def test_resumes_exactly(make, tmp_path, name):
    """The run is killed four times: at the beginning of steps, in an evaluation and after the last step. Data workers
    change nothing: neither the run that is not killed nor the last command has any."""
    settings = SETTINGS[name]
    without_workers = settings | {"dataloader_num_workers": 0, "dataloader_persistent_workers": False}
    straight = make(tmp_path / "straight", **without_workers)
    straight.train()
    folder = tmp_path / "killed"
    end = straight.state.global_step
    kills = [kill_at("on_step_begin", 4), kill_at("on_step_begin", end - 2), kill_at("on_train_end", end)]
    if settings.get("eval_strategy") != "no":
        kills.insert(1, kill_at("on_prediction_step", 6))
    for kill in kills:
        with pytest.raises(Killed):
            resume(make(folder, kill, **settings), folder)
    assert checkpoints(folder)
    resumed = make(folder, **without_workers)
    resume(resumed, folder)
    assert_same(outcome(straight, tmp_path / "straight"), outcome(resumed, folder))


def test_durations_are_those_of_the_whole_run(make, tmp_path):
    with pytest.raises(Killed):
        make(tmp_path, kill_at("on_step_begin", 5)).train()
    path = tmp_path / "checkpoint-3" / "progress_0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 1000.0}))
    complete_checkpoint(path.parent)
    resumed = make(tmp_path)
    output = resumed.train(resume_from_checkpoint=True)
    assert output.metrics["train_runtime"] >= 1000
    assert output.metrics["train_steps_per_second"] <= 9 / 1000
    assert output.metrics["train_samples_per_second"] <= 33 / 1000
    assert output.training_loss == resumed.state.log_history[-1]["train_loss"]


@pytest.mark.parametrize("written", [0, 1, 7, 100])
def test_killed_while_saving(make, straight, tmp_path, written):
    """A checkpoint is never chosen before its last file is written, however many of the others are there."""
    with pytest.raises(Killed):
        make(tmp_path, kill_at("on_step_begin", 7), save_total_limit=None).train()
    (tmp_path / "checkpoint-6" / "contents.json").unlink()
    for path in sorted((tmp_path / "checkpoint-6").iterdir())[written:]:
        path.unlink()
    assert names(tmp_path) == ["checkpoint-3"]
    resumed = make(tmp_path)
    resume(resumed, tmp_path)
    assert_same(straight, outcome(resumed, tmp_path))


@pytest.mark.parametrize(
    ("limit", "seen"),  # at each checkpoint, before and after it is completed; the one of step 6 is the best
    [(1, [[], [3], [3], [6], [6], [6, 9]]), (3, [[], [3], [3], [3, 6], [3, 6], [3, 6, 9]])],
)
def test_neither_the_best_nor_the_previous_is_deleted_too_early(make, tmp_path, limit, seen):
    class Watch(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            complete.append([step_of(path) for path in checkpoints(tmp_path)])

    complete = []
    trainer = make(tmp_path, Watch(), save_total_limit=limit)
    trainer.callback_handler.callbacks.insert(0, Watch())  # It is called before the checkpoint is completed.
    trainer.train()
    assert complete == seen
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-6")


def test_later_checkpoints_are_deleted_where_training_starts_anew(make, tmp_path):
    make(tmp_path, save_total_limit=None).train()
    with pytest.raises(Killed):
        make(tmp_path, kill_at("on_step_begin", 3)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert names(tmp_path) == ["checkpoint-3"]


def test_there_is_nothing_to_resume(make, tmp_path):
    with pytest.raises(ValueError, match="holds no complete checkpoint"):
        make(tmp_path).train(resume_from_checkpoint=True)


@pytest.mark.slow
def test_the_folder_can_be_moved(make, straight, tmp_path):
    """The state of Trainer holds the path of the best checkpoint."""
    with pytest.raises(Killed):
        make(tmp_path / "before", kill_at("on_step_begin", 8)).train()
    (tmp_path / "before").rename(tmp_path / "after")
    resumed = make(tmp_path / "after")
    resume(resumed, tmp_path / "after")
    assert_same(straight, outcome(resumed, tmp_path / "after"))


def test_a_checkpoint_holds_no_pickle_that_could_run_code(make, tmp_path):
    make(tmp_path).train()
    folder = checkpoints(tmp_path)[-1]
    assert not (folder / "training_args.bin").exists()
    for path in [*folder.glob("*.pt"), *folder.glob("*.pth")]:
        with safe_globals():
            torch.load(path, weights_only=True)
    assert set(json.loads((folder / "contents.json").read_text())) == {
        str(path.relative_to(folder)) for path in folder.iterdir() if path.name != "contents.json"
    }


@pytest.fixture
def limit_file_size():
    """No file can grow beyond the size that is set. Unprivileged users can make a write fail in this way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    "size",  # The file that becomes larger holds code, weights, or the optimizer's state.
    [16_000, pytest.param(40_000, marks=pytest.mark.slow), pytest.param(150_000, marks=pytest.mark.slow)],
)
def test_a_full_disk_is_one_clear_error(make, straight, tmp_path, limit_file_size, size):
    folder = tmp_path / "full"
    with pytest.raises(OSError, match="checkpoint-6 could not be written to .*full: .*Free some space") as error:
        make(folder, CallAt("on_step_begin", 4, lambda: limit_file_size(size))).train()
    limit_file_size(resource.RLIM_INFINITY)
    assert "continues from checkpoint-3, which is intact" in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"]  # The incomplete checkpoint was deleted.
    resumed = make(folder)
    resume(resumed, folder)
    assert_same(straight, outcome(resumed, folder))


def test_a_full_disk_before_the_first_checkpoint(make, tmp_path, limit_file_size):
    with pytest.raises(OSError, match=r"Free some space .*: it starts from the beginning"):
        make(tmp_path, CallAt("on_step_begin", 1, lambda: limit_file_size(16_000))).train()


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("on_save", RuntimeError("CUDA error: an illegal memory access was encountered")),
        ("on_step_begin", ConnectionError("the stream was closed")),
    ],
)
def test_other_errors_are_not_mistaken_for_a_full_disk(make, tmp_path, event, error):
    trainer = make(tmp_path)
    trainer.callback_handler.callbacks.insert(0, CallAt(event, 6, Mock(side_effect=error)))
    with pytest.raises(type(error)) as raised:
        trainer.train()
    assert raised.value is error
