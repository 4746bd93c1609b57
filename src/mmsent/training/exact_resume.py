"""Training that resumes exactly: an interrupted run ends with the weights and the log of one that was not interrupted.

Trainer restores the weights, the optimizer, the schedule and the random states of a checkpoint. This module adds what
Trainer does not save, marks checkpoints as complete, and deletes old ones.

Everything is done by Trainer's public methods and callbacks, except that three private attributes are read and
written: `PRIVATE_ATTRIBUTES`. tests/training/test_private_attributes.py checks that transformers still has them.
"""

import json
import time
from copy import copy
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import TrainOutput, speed_metrics

from mmsent.modeling.common_loading import follow_umask

from .run_folder import (
    checkpoint_name,
    checkpoints,
    clear_disk_errors,
    complete_checkpoint,
    prune_checkpoints,
    remove_later_checkpoints,
)

TESTED_TRANSFORMERS = "5.23.0"
# The loss since the last log (tensor), the sum of the losses before it (float), and the step of that log (int).
PRIVATE_ATTRIBUTES = ("_tr_loss", "_total_loss_scalar", "_globalstep_last_logged")


class ExactResumeTrainer(Trainer):
    """A `Trainer` whose checkpoints are either complete or ignored, and which resumes from them exactly on a CPU,
    also within an epoch.

    The order and the augmentation of the posts must depend on the seed and the epoch alone: samplers and posts that
    have `set_epoch` are told the epoch.
    """

    def __init__(self, model, args, *positional, callbacks: list[TrainerCallback] | None = None, **kwargs):
        args = copy(args)
        limit, args.save_total_limit = args.save_total_limit, None  # Trainer deletes before a checkpoint is complete.
        super().__init__(model, args, *positional, callbacks=[Checkpoints(self, limit), *(callbacks or [])], **kwargs)
        self.add_callback(PostponeToEpochEnd)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs) -> TrainOutput:
        """Train, from a checkpoint if one is given; `True` stands for the latest complete one.

        Raises:
            OSError: If a checkpoint cannot be written, for example because the disk is full. The message names the
                latest checkpoint that is intact.
            ValueError: If `resume_from_checkpoint` is `True` and there is no complete checkpoint.
        """
        run = Path(self.args.output_dir)
        if resume_from_checkpoint is True:
            complete = checkpoints(run)
            if not complete:
                raise ValueError(f"{run} holds no complete checkpoint. Train without resume_from_checkpoint.")
            resume_from_checkpoint = str(complete[-1])
        self.resumed_from, self.has_stopped = resume_from_checkpoint or None, False
        if self.resumed_from is not None:
            state = TrainerState.load_from_json(str(Path(self.resumed_from, TRAINER_STATE_NAME)))
            self.has_stopped = state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
        with clear_disk_errors(run):
            output = super().train(self.resumed_from, *args, **kwargs)
        return output._replace(training_loss=output.metrics["train_loss"])

    def set_initial_training_values(self, args, dataloader) -> tuple:
        """Leave no epoch to train if early stopping or `max_steps` ended the training before the checkpoint."""
        epochs, self.steps_per_epoch, *others = super().set_initial_training_values(args, dataloader)
        self.total_epochs = epochs
        return 0 if self.has_stopped else epochs, self.steps_per_epoch, *others

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log speed and mean loss of the whole run, and not only of the steps since it was resumed."""
        if "train_runtime" in logs and self.resumed_from is not None:
            steps, posts = self.state.global_step, len(self.train_dataset) * self.state.epoch
            logs.update(speed_metrics("train", time.time() - self.seconds_of_training(), posts, steps))
            logs["train_loss"] = self._total_loss_scalar / steps
        super().log(logs, start_time)

    def seconds_of_training(self) -> float:
        """Return how long training has taken until now, without the time between an interruption and resuming."""
        return self.seconds_before + time.time() - self.started

    def progress(self) -> dict[str, float]:
        """Return what checkpoints of Trainer lack: the losses since the last log, and the duration so far."""
        return {
            "loss_since_log": self._tr_loss.item(),  # JSON keeps a float32 exactly.
            "loss_before_log": self._total_loss_scalar,
            "step_of_log": self._globalstep_last_logged,
            "seconds": self.seconds_of_training(),
        }

    def restore_progress(self, progress: dict[str, float]) -> None:
        self._tr_loss += progress["loss_since_log"]
        self._total_loss_scalar = progress["loss_before_log"]
        self._globalstep_last_logged = progress["step_of_log"]
        self.seconds_before = progress["seconds"]

    def get_train_dataloader(self) -> DataLoader:
        return self.adapt_dataloader(super().get_train_dataloader(), is_training=True)

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        return self.adapt_dataloader(super().get_eval_dataloader(eval_dataset), is_training=False)

    def get_test_dataloader(self, test_dataset) -> DataLoader:
        return self.adapt_dataloader(super().get_test_dataloader(test_dataset), is_training=False)

    def adapt_dataloader(self, loader: DataLoader, is_training: bool) -> DataLoader:
        """Give a loader a random generator of its own.

        How often a loader draws a number depends on whether its workers persist, and on whether the epoch was resumed.
        It must not draw from the generator of dropout.
        """
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader


class Checkpoints(TrainerCallback):
    """Completes checkpoints, deletes old ones, and restores from a checkpoint what Trainer does not restore.

    Args:
        limit: How many checkpoints to keep; all if `None`. The latest and the best are always kept.
    """

    def __init__(self, trainer: ExactResumeTrainer, limit: int | None):
        self.trainer, self.limit = trainer, limit

    def on_train_begin(self, args, state, control, **kwargs):
        trainer, run = self.trainer, Path(args.output_dir)
        trainer.started, trainer.seconds_before = time.time(), 0.0
        state.num_train_epochs = trainer.total_epochs
        if args.should_save:  # Later checkpoints are of an abandoned attempt, for example with larger batches.
            remove_later_checkpoints(run, state.global_step)
        if trainer.resumed_from is None:
            return
        args.eval_on_start = False  # The interrupted run did this and logged it.
        best = run / checkpoint_name(state.best_global_step or 0)
        if best.is_dir():  # Trainer noted the path that the folder had before it was moved.
            state.best_model_checkpoint = str(best)
        progress = self._progress_file(Path(trainer.resumed_from), args)
        if progress.exists():
            trainer.restore_progress(json.loads(progress.read_text(encoding="utf-8")))

    def on_epoch_begin(self, args, state, control, train_dataloader, **kwargs):
        # accelerate does not tell the epoch to the sampler of a distributed run that resumes within an epoch, and does
        # not always tell it to the posts.
        posts = train_dataloader.dataset
        for target in (train_dataloader.get_sampler(), posts.dataset if isinstance(posts, Subset) else posts):
            if hasattr(target, "set_epoch"):
                target.set_epoch(int(state.epoch))

    def on_save(self, args, state, control, **kwargs):
        run = Path(args.output_dir)
        checkpoint = run / checkpoint_name(state.global_step)
        if not args.save_only_model:
            progress = json.dumps(self.trainer.progress())
            self._progress_file(checkpoint, args).write_text(progress, encoding="utf-8")
        self.trainer.accelerator.wait_for_everyone()  # Every process has written its files.
        if args.should_save:
            (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # This is a pickle, which could run code.
            follow_umask(checkpoint)  # an adapter's weights are not saved by the model
            complete_checkpoint(checkpoint)
            prune_checkpoints(run, self.limit, state.best_model_checkpoint)

    def _progress_file(self, checkpoint: Path, args) -> Path:
        return checkpoint / f"progress_{args.process_index}.json"


class PostponeToEpochEnd(TrainerCallback):
    """Postpones the log, the evaluation and the checkpoint of an epoch's last step to the end of the epoch.

    A run that resumes from a checkpoint between the two would skip what is done at the end of the epoch.
    """

    def __init__(self):
        self.postponed: list[str] = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.epoch % 1 == 0 or control.should_training_stop:
            actions = ("should_log", "should_evaluate", "should_save")
            self.postponed = [action for action in actions if getattr(control, action)]
            for action in self.postponed:
                setattr(control, action, False)

    def on_epoch_end(self, args, state, control, **kwargs):
        for action in self.postponed:
            setattr(control, action, True)
        self.postponed = []
