"""transformers' Trainer with checkpoints that are whole and resumed exactly, training in stages, losses that stay
the model's own, and batches of posts of one length."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Subset
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PredictionOutput, TrainOutput, unwrap_peft_model

from mmsent.modeling.common_base import MultimodalPreTrainedModel

from .arguments import RunArguments
from .run_folder import (
    STAGING,
    checkpoint_name,
    checkpoints,
    clear_disk_errors,
    prune_checkpoints,
    publish_checkpoint,
    remove_checkpoint,
)

logger = logging.getLogger(__name__)


class MultimodalTrainer(Trainer):
    """Trains text encoder, image encoder and the rest of the model at rates of their own (`text_learning_rate`,
    `image_learning_rate`) and in stages (`text_from_epoch`, `image_from_epoch`, `rest_until_epoch`), and goes on after
    an interruption as if there had been none.

    A part that is not being trained has a learning rate of zero: its weights stay as they are, bit by bit, and every
    process of a distributed run goes on reporting the same gradients. An encoder is in eval mode meanwhile.

    Resumed from a checkpoint, a run on a CPU ends with the weights and the log of one that was never interrupted,
    durations excepted. Trainer restores weights, optimizer, scheduler and random states; added here are the losses
    since the last log, early stopping, and an order of posts and an augmentation that depend on seed and epoch alone.

    Raises:
        ValueError: stages or a decay with a schedule that is no function of the step, such as reduce_lr_on_plateau.
        OSError: a checkpoint could not be written, because the disk is full, say; the ones before are intact.
    """

    args: RunArguments

    def __init__(self, model, args: RunArguments, *rest, class_weights: list[float] | None = None, **kwargs):
        share_batch_norm(unwrap_peft_model(model), args)
        super().__init__(model, args, *rest, **kwargs)
        self.add_callback(_EpochEnd)
        # Trainer's own would take the labels away from the model, and with them the losses that an architecture adds.
        self.label_smoother = None
        unwrap_peft_model(self.model).set_loss(class_weights, self.args.label_smoothing_factor)

    # ------------------------------------------------------------------------------------------------- checkpoints

    def _save_checkpoint(self, model, trial) -> None:
        """As Trainer does, but beside its place, and moved there when every process has written its part."""
        self.store_flos()
        run = Path(self._get_output_dir(trial))
        target = run / checkpoint_name(self.state.global_step)
        staged = run / f"{STAGING}{target.name}"
        with clear_disk_errors(run, target.name):
            if self.args.should_save:
                shutil.rmtree(staged, ignore_errors=True)
                staged.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self.save_model(str(staged), _internal_call=True)
            if not self.args.save_only_model:
                self._save_optimizer_and_scheduler(str(staged))
                self._save_scaler(str(staged))
                self._save_rng_state(str(staged))
                self._save_progress(staged)
            self._find_best_checkpoint(run, target)
            if self.args.should_save:
                (staged / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle that nobody reads
                for callback in [*self.callback_handler.callbacks, self.control]:
                    if isinstance(callback, ExportableState):
                        self.state.stateful_callbacks[type(callback).__name__] = callback.state()
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish_checkpoint(staged, target)
                prune_checkpoints(run, self.args.save_total_limit, self.state.best_model_checkpoint)
            self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(target))

    def _find_best_checkpoint(self, run: Path, new: Path | None = None) -> None:
        """Note where the best weights are: in this folder, which may have been moved since the run began."""
        best = run / checkpoint_name(self.state.best_global_step or 0)
        if best == new or best.is_dir():
            self.state.best_model_checkpoint = str(best)

    def _progress_file(self, checkpoint: str | Path) -> Path:
        return Path(checkpoint) / f"progress_{self.args.process_index}.json"

    def _save_progress(self, checkpoint: Path) -> None:
        """What Trainer forgets: each process's losses since the last log, and how long training took so far."""
        progress = {
            "loss_since_log": self._tr_loss.item(),  # a float32, which JSON's digits give back exactly
            "loss_before_log": self._total_loss_scalar,
            "step_of_log": self._globalstep_last_logged,
            "seconds": self._seconds_before + time.time() - self._started,
        }
        self._progress_file(checkpoint).write_text(json.dumps(progress), encoding="utf-8")

    def _init_training_state(self, *args) -> tuple[int, int]:
        *_, checkpoint, trial = args
        place = super()._init_training_state(*args)
        run = Path(self._get_output_dir(trial))
        self._resumed_from, self._was_stopped, self._seconds_before = checkpoint, False, 0.0
        if checkpoint is not None:
            self.args.eval_on_start = False  # that has been done and logged
            self._find_best_checkpoint(run)
            control = self.state.stateful_callbacks["TrainerControl"]["args"]
            self._was_stopped = control["should_training_stop"]
        elif self.args.auto_find_batch_size and self.args.should_save:
            for abandoned in checkpoints(run):  # by an attempt with larger batches, which ran out of memory
                remove_checkpoint(abandoned)
        return place

    def _go_on(self) -> None:
        """Put back what `_save_progress` saved; Trainer begins its training loop with zeros."""
        self._started = time.time()
        checkpoint, self._resumed_from = self._resumed_from, None
        if checkpoint is None or not self._progress_file(checkpoint).exists():
            return
        progress = json.loads(self._progress_file(checkpoint).read_text(encoding="utf-8"))
        self._tr_loss += progress["loss_since_log"]
        self._total_loss_scalar = progress["loss_before_log"]
        self._globalstep_last_logged = progress["step_of_log"]
        self._seconds_before = progress["seconds"]
        self._initial_global_step = 0  # speed and mean loss in the end are those of the whole run

    def _run_epoch(self, *, epoch, epochs_trained, train_dataloader, **kwargs) -> None:
        if epoch == epochs_trained:
            self._go_on()
        if self._was_stopped:  # by the last step or early stopping, after which the checkpoint was written
            self.control.should_training_stop = True
            return
        # accelerate reaches neither the sampler of a distributed run resumed within an epoch nor, always, the posts.
        batches = train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        posts = self.train_dataset.dataset if isinstance(self.train_dataset, Subset) else self.train_dataset
        for part in (batches.sampler, posts):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, epochs_trained=epochs_trained, train_dataloader=train_dataloader, **kwargs)

    def _finalize_training(self, trial, num_train_samples, start_time) -> TrainOutput:
        if self._resumed_from is not None:  # after the last step: no epoch was run
            self._go_on()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:  # without a limit: Trainer would delete the latest checkpoint before the model has been saved
            return super()._finalize_training(trial, num_train_samples, start_time - self._seconds_before)
        finally:
            self.args.save_total_limit = limit

    def _get_dataloader(self, *args, **kwargs):
        """As Trainer does, but reading posts draws no random number that dropout would have drawn: how often it does
        depends on whether workers persist, and on whether the epoch was begun anew."""
        loader = super()._get_dataloader(*args, **kwargs)
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return loader

    # ----------------------------------------------------------------------------------------------- length bucketing

    @property
    def groups_lengths(self) -> bool:
        return self.args.train_sampling_strategy == "group_by_length"

    def _get_train_sampler(self, train_dataset=None):
        if not self.groups_lengths:
            return super()._get_train_sampler(train_dataset)
        posts = self.train_dataset if train_dataset is None else train_dataset
        # of all processes together, so that their number does not change which posts a step sees
        batch_size = self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return _LengthGroups(batch_size, text_lengths(posts), self.args.seed)

    def _get_eval_sampler(self, eval_dataset):
        return _by_length(eval_dataset) if self.groups_lengths else super()._get_eval_sampler(eval_dataset)

    def predict(self, test_dataset, *args, **kwargs) -> PredictionOutput:
        """As Trainer does; the predictions stand in the order of the posts, whatever the order of the batches."""
        output = super().predict(test_dataset, *args, **kwargs)
        if not self.groups_lengths:
            return output
        place = np.argsort(_by_length(test_dataset))
        return output._replace(predictions=output.predictions[place], label_ids=output.label_ids[place])

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """As Trainer does, but posts that fill up the last batches of several processes do not count in the loss.

        Predictions of such posts are cut off by accelerate, but the loss is the mean of a whole batch.
        """
        step = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        loader = self.accelerator.gradient_state
        if self.args.world_size == 1 or not loader.end_of_dataloader or loader.remainder <= 0:
            return step
        own = loader.remainder - self.args.process_index * len(inputs["labels"])
        kept = {name: value[: max(own, 1)] for name, value in inputs.items()}  # one at least: FSDP needs every process
        return super().prediction_step(model, kept, True)[0], *step[1:]

    # ------------------------------------------------------------------------------------------------ learning rates

    @property
    def is_staged(self) -> bool:
        args = self.args
        return args.text_from_epoch > 0 or args.image_from_epoch > 0 or args.rest_until_epoch is not None

    def _stages(self, num_training_steps: int) -> dict[str, range]:
        """The steps in which each part is trained."""

        def step(epoch: float | None) -> int:
            return num_training_steps if epoch is None else round(epoch * num_training_steps / epochs)

        args, epochs = self.args, self.args.num_train_epochs
        end = step(args.rest_until_epoch)
        return {
            "text": range(step(args.text_from_epoch), num_training_steps),
            "image": range(step(args.image_from_epoch), end),
            "rest": range(end),
        }

    def training_step(self, model, *args, **kwargs) -> torch.Tensor:
        if self.is_staged:
            stages = self._stages(self.state.max_steps)
            resting = tuple(part for part in ("text", "image") if self.state.global_step not in stages[part])
            unwrap_peft_model(self.accelerator.unwrap_model(model)).resting = resting
        return super().training_step(model, *args, **kwargs)

    def create_optimizer(self, model=None) -> Optimizer:
        """As Trainer does, with the encoders' weights in parameter groups of their own where they are needed."""
        optimizer = super().create_optimizer(model)
        rates = {"text": self.args.text_learning_rate, "image": self.args.image_learning_rate}
        if self.is_staged or any(rate is not None for rate in rates.values()):
            model = self.accelerator.unwrap_model(self.model)
            part_of = {
                id(p): part for name, p in model.named_parameters() for part in rates if f".{part}_encoder." in name
            }
            groups = []
            for group in optimizer.param_groups:
                for part in ("text", "image", "rest"):
                    kept = [p for p in group["params"] if part_of.get(id(p), "rest") == part]
                    rate = rates.get(part)
                    rate = group["lr"] if rate is None else rate
                    groups += [group | {"params": kept, "part": part, "lr": rate}] if kept else []
            optimizer.param_groups[:] = groups
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None):
        """As Trainer does, times `lr_decay` every `lr_decay_steps`; outside its stage the rate of a part is zero."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        decay = self.args.lr_decay
        if not self.is_staged and decay is None:
            return scheduler
        if not isinstance(scheduler, LambdaLR):
            raise ValueError(
                f"lr_scheduler_type={self.args.lr_scheduler_type} cannot be combined with stages or lr_decay."
            )
        if decay is not None:
            scheduler.lr_lambdas = [_decayed(f, decay, self.args.lr_decay_steps) for f in scheduler.lr_lambdas]
        if self.is_staged:
            stages = self._stages(num_training_steps)
            groups = scheduler.optimizer.param_groups
            scheduler.lr_lambdas = [
                _within(factor, stages[group["part"]])
                for factor, group in zip(scheduler.lr_lambdas, groups, strict=True)
            ]
            for group, rate, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
                group["lr"] = rate * factor(0)
        return scheduler


def share_batch_norm(model: MultimodalPreTrainedModel, args: RunArguments) -> None:
    """Have the BatchNorm of a trained image encoder take its statistics from the batches of all processes, where there
    are several on GPUs; on CPUs, where PyTorch cannot, warn that they are of each process. Names of weights stay."""
    encoder = model.base_model.image_encoder
    if args.world_size == 1 or encoder is None or encoder in model.frozen_encoders():
        return
    if not any(isinstance(module, _BatchNorm) for module in encoder.modules()):
        return
    if args.device.type == "cuda":
        encoder.backbone = convert_sync_batchnorm(encoder.backbone)  # timm's keeps what its layers do after the norm
    elif args.process_index == 0:
        logger.warning(
            "The image encoder's BatchNorm takes its statistics from each process's own posts: on CPUs, %d processes "
            "do not train the model that one would with the same posts a step.",
            args.world_size,
        )


def _within(factor: Callable[[int], float], stage: range) -> Callable[[int], float]:
    return lambda step: factor(step) if step in stage else 0.0


def _decayed(factor: Callable[[int], float], decay: float, steps: int) -> Callable[[int], float]:
    return lambda step: factor(step) * decay ** (step // steps)


class _EpochEnd(TrainerCallback):
    """Puts off what is due at the last step of an epoch until the epoch's end, which comes next.

    A checkpoint between the two would let a resumed run skip what the epoch's end brings: a log, an evaluation.
    """

    def __init__(self):
        self.due: list[str] = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.epoch % 1 == 0 or control.should_training_stop:
            self.due = [n for n in ("should_log", "should_evaluate", "should_save") if getattr(control, n)]
            for name in self.due:
                setattr(control, name, False)

    def on_epoch_end(self, args, state, control, **kwargs):
        for name in self.due:
            setattr(control, name, True)
        self.due = []


def text_lengths(posts: Dataset) -> list[int]:
    """How long each post's text is: characters of a corpus, tokens of encoded posts."""
    if isinstance(posts, Subset):
        lengths = text_lengths(posts.dataset)
        return [lengths[row] for row in posts.indices]
    if hasattr(posts, "posts"):  # augmented, or with cached features
        return text_lengths(posts.posts)
    if hasattr(posts, "column_names"):
        return [len(text or "") for text in posts["text"]]
    return [int(post["attention_mask"].sum()) for post in posts]


def _by_length(posts: Dataset) -> list[int]:
    """Rows of the posts, the longest first: a batch that is too large for the memory is the first one."""
    return np.argsort([-length for length in text_lengths(posts)], kind="stable").tolist()


class _LengthGroups(LengthGroupedSampler):
    """transformers' sampler in an order that depends on seed and epoch alone, so that it can be resumed."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        super().__init__(batch_size, lengths=lengths)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(self.seed + epoch)
