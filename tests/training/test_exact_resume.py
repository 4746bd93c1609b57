"""Interrupted training goes on exactly: weights, losses and the best checkpoint are those of an unbroken run."""

import errno
import json
import os
import resource
import signal

import pytest
import tiny
import torch
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from mmsent.training import run_folder
from mmsent.training import trainer as trainer_module
from mmsent.training.arguments import RunArguments
from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.collator import PostCollator
from mmsent.training.run_folder import checkpoints, is_complete
from mmsent.training.trainer import MultimodalTrainer

DURATIONS = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
DURATIONS |= {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


class Killed(BaseException):
    """Ends a training where nothing can tidy up after it, as SIGKILL does."""


class Rows(list):
    column_names = ["id", "text", "images", "text_translation"]

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


class KillAt(TrainerCallback):
    def __init__(self, event: str, step: int):
        setattr(self, event, self.kill)
        self.step = step

    def kill(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


def make_rows() -> Rows:
    posts = tiny.posts(11)
    columns = {name: posts[name] for name in ("text", "images", "aspect")}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    extra = {"text_label": None, "image_label": None, "text_translation": "so good coffee"}
    return Rows(row | extra | {"id": str(n), "label": n % 3} for n, row in enumerate(rows))


@pytest.fixture
def make(backbones):
    """A trainer of eleven posts, augmented, for three epochs of three steps, with dropout; the same at every call."""

    def make(folder, *callbacks, patience=None, **arguments) -> MultimodalTrainer:
        processor, model = tiny.build("comn", "transformers", backbones, dropout=0.3)
        defaults = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        defaults |= {"learning_rate": 3e-3, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(output_dir=str(folder), **defaults | arguments)
        set_seed(args.seed)
        rows = make_rows()
        stop = [EarlyStoppingCallback(patience)] if patience is not None else []
        trainer = MultimodalTrainer(
            model=model,
            args=args,
            data_collator=PostCollator(processor),
            train_dataset=AugmentedPosts(rows, ["flip", "crop"], "text_translation", seed=5),
            eval_dataset=rows,
            callbacks=[*stop, *callbacks],
        )
        trainer.compute_metrics = lambda _: {"accuracy": 0.9 - 0.1 * abs(trainer.state.epoch - 2)}
        return trainer

    return make


def last(folder) -> str | None:
    found = checkpoints(folder)
    return str(found[-1]) if found else None


def outcome(trainer: MultimodalTrainer, folder) -> tuple[dict, list, tuple]:
    log = [{k: v for k, v in entry.items() if k not in DURATIONS} for entry in trainer.state.log_history]
    best = trainer.state.best_model_checkpoint
    best = best and os.path.relpath(best, folder)
    return trainer.model.state_dict(), log, (trainer.state.global_step, trainer.state.best_metric, best)


def assert_same(one: tuple[dict, list, tuple], other: tuple[dict, list, tuple]) -> None:
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name
    assert one[1:] == other[1:]


SETTINGS = {
    "epochs": {},
    "workers": {"dataloader_num_workers": 1},
    "workers that persist": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    "within an epoch": {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2},
    # losses are logged every four steps, over epochs' ends; nothing is evaluated
    "within a window of the log": {
        **{"save_strategy": "steps", "save_steps": 2, "logging_strategy": "steps", "logging_steps": 4},
        **{"eval_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 5},
    },
    # step 3 is the last of an epoch: its checkpoint must not come before what is logged at the epoch's end
    "at an epoch's last step": {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": False},
    "a last epoch that is cut short": {
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


FAST = {"within an epoch", "stages"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in SETTINGS])
def test_goes_on_exactly(make, tmp_path, name):
    """Killed four times: at the beginning of steps, in an evaluation and after the last step."""
    settings = SETTINGS[name]
    straight = make(tmp_path / "straight", **settings)
    straight.train()
    folder = tmp_path / "killed"
    end = straight.state.global_step
    killers = [KillAt("on_step_begin", 4), KillAt("on_step_begin", end - 2), KillAt("on_train_end", end)]
    if settings.get("eval_strategy") != "no":
        killers.insert(1, KillAt("on_prediction_step", 6))
    for killer in killers:
        with pytest.raises(Killed):
            make(folder, killer, **settings).train(resume_from_checkpoint=last(folder))
    resumed = make(folder, **settings)
    assert last(folder) is not None
    resumed.train(resume_from_checkpoint=last(folder))
    assert_same(outcome(straight, tmp_path / "straight"), outcome(resumed, folder))


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(make, tmp_path):
    outcomes = []
    for workers in (0, 2):
        trainer = make(tmp_path / str(workers), dataloader_num_workers=workers)
        trainer.train()
        outcomes.append(outcome(trainer, tmp_path / str(workers)))
    assert_same(*outcomes)


@pytest.mark.parametrize("kept", [0, 1, 7, 100])
def test_killed_while_saving(make, tmp_path, monkeypatch, kept):
    """Whatever number of files of a checkpoint was written, it is never chosen, and the one before still is there."""
    straight = make(tmp_path / "straight")
    straight.train()
    folder = tmp_path / "killed"

    def kill(staged, target):
        for path in sorted(staged.iterdir())[kept:]:
            path.unlink()
        raise Killed

    make_and_kill = make(folder, KillAt("on_step_begin", 4))
    with pytest.raises(Killed):
        make_and_kill.train()
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "publish_checkpoint", kill)
        with pytest.raises(Killed):
            make(folder).train(resume_from_checkpoint=last(folder))
    assert (folder / "tmp-checkpoint-6").is_dir()
    assert last(folder) == str(folder / "checkpoint-3")
    resumed = make(folder)
    resumed.train(resume_from_checkpoint=last(folder))
    assert_same(outcome(straight, tmp_path / "straight"), outcome(resumed, folder))


def test_killed_while_deleting(make, tmp_path, monkeypatch):
    """A checkpoint of which a part has been deleted is not chosen either, even where it is the later one."""
    make(tmp_path, save_total_limit=None).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    (tmp_path / "checkpoint-9" / "optimizer.pt").unlink()
    assert last(tmp_path) == str(tmp_path / "checkpoint-6")
    weights = tmp_path / "checkpoint-6" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert last(tmp_path) == str(tmp_path / "checkpoint-3")

    def kill(path, *args, **kwargs):
        if "old" in path.name and path.exists():
            raise Killed

    monkeypatch.setattr(run_folder.shutil, "rmtree", kill)
    with pytest.raises(Killed):
        run_folder.remove_checkpoint(tmp_path / "checkpoint-3")
    assert checkpoints(tmp_path) == []


@pytest.mark.parametrize(("limit", "left"), [(1, [6, 9]), (2, [6, 9]), (3, [3, 6, 9]), (None, [3, 6, 9])])
def test_neither_the_best_nor_the_latest_is_deleted(make, tmp_path, limit, left):
    """The best is that of step 6. At no moment is there less than one complete checkpoint after the first."""
    seen = []

    class Watch(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            seen.append([run_folder.step_of(path) for path in checkpoints(tmp_path)])

    trainer = make(tmp_path, Watch(), save_total_limit=limit)
    trainer.train()
    assert seen[0] == [3]
    assert seen[-1] == left
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-6")
    assert is_complete(tmp_path / "checkpoint-6")


def test_the_old_checkpoint_stays_until_the_new_one_is_in_place(make, tmp_path, monkeypatch):
    publish = trainer_module.publish_checkpoint

    def watch(staged, target):
        if target.name == "checkpoint-9":
            assert (tmp_path / "checkpoint-6").is_dir()
        publish(staged, target)
        assert is_complete(target)

    monkeypatch.setattr(trainer_module, "publish_checkpoint", watch)
    make(tmp_path, save_total_limit=1, load_best_model_at_end=False, metric_for_best_model=None).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9"]


@pytest.mark.slow
def test_the_folder_can_be_moved(make, tmp_path):
    """Where the best weights are is found anew: Trainer notes the path that the folder had."""
    straight = make(tmp_path / "straight")
    straight.train()
    with pytest.raises(Killed):
        make(tmp_path / "before", KillAt("on_step_begin", 8)).train()
    (tmp_path / "before").rename(tmp_path / "after")
    resumed = make(tmp_path / "after")
    resumed.train(resume_from_checkpoint=last(tmp_path / "after"))
    assert_same(outcome(straight, tmp_path / "straight"), outcome(resumed, tmp_path / "after"))


@pytest.fixture
def small_disk():
    """No file can grow beyond the size that is set: an unprivileged way to a write that fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    "size",  # of a file of code; of weights; of the optimizer
    [16_000, pytest.param(40_000, marks=pytest.mark.slow), pytest.param(150_000, marks=pytest.mark.slow)],
)
def test_a_full_disk_is_one_clear_error(make, tmp_path, small_disk, size):
    straight = make(tmp_path / "straight")
    straight.train()
    folder = tmp_path / "full"

    class Fill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 4:
                small_disk(size)

    with pytest.raises(OSError, match="checkpoint-6 could not be written to .*full: .*Make room") as error:
        make(folder, Fill()).train()
    small_disk(resource.RLIM_INFINITY)
    assert "goes on from checkpoint-3, which is intact" in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"]  # what was half written gave its room back
    resumed = make(folder)
    resumed.train(resume_from_checkpoint=last(folder))
    assert_same(outcome(straight, tmp_path / "straight"), outcome(resumed, folder))


def test_a_full_disk_before_the_first_checkpoint(make, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer_module, "publish_checkpoint", full)
    with pytest.raises(OSError, match=r"No space left on device\. Make room .*: it starts from the beginning"):
        make(tmp_path).train()


def test_other_errors_are_not_taken_for_a_full_disk(make, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(MultimodalTrainer, "_save_optimizer_and_scheduler", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        make(tmp_path).train()


def test_a_checkpoint_holds_no_pickle_that_could_run_code(make, tmp_path):
    make(tmp_path).train()
    folder = checkpoints(tmp_path)[-1]
    assert not (folder / "training_args.bin").exists()
    for path in [*folder.glob("*.pt"), *folder.glob("*.pth")]:
        from transformers.trainer_pt_utils import safe_globals

        with safe_globals():
            torch.load(path, weights_only=True)
    assert set(json.loads((folder / "contents.json").read_text())) == {
        str(path.relative_to(folder)) for path in folder.iterdir() if path.name != "contents.json"
    }
