"""transformers' Trainer for the models of this project."""

import logging
from functools import partial

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers.trainer_utils import PredictionOutput, unwrap_peft_model

from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_layers import FeatureNorm

from .arguments import RunArguments
from .exact_resume import ExactResumeTrainer
from .full_batch import FullBatchLBFGS
from .length_grouping import LengthGroups, longest_first, text_lengths
from .stages import RestingEncoders, add_decay_and_stages, has_part_rates, has_stages, split_parameter_groups

logger = logging.getLogger(__name__)


class MultimodalTrainer(ExactResumeTrainer):
    """Trains the text encoder, the image encoder and the rest of the model at their own learning rates
    (`text_learning_rate`, `image_learning_rate`) and in stages (`text_from_epoch`, `image_from_epoch`,
    `rest_until_epoch`), groups posts by the length of their texts (`train_sampling_strategy="group_by_length"`), and
    resumes an interrupted training exactly. With `lbfgs`, a batch must be the whole training split.

    A part of the model that is outside its stage has a learning rate of zero. Its weights do not change at all, while
    every process of a distributed run still reports the same gradients. An encoder is then in eval mode.

    Args:
        class_weights: Weight of each class in the cross-entropy.
    """

    args: RunArguments

    def __init__(self, model, args: RunArguments, *positional, class_weights: list[float] | None = None, **kwargs):
        share_batch_norm(unwrap_peft_model(model), args)
        super().__init__(model, args, *positional, **kwargs)
        if self.args.lbfgs:
            for module in model.modules():
                if isinstance(module, FeatureNorm):
                    module.momentum = 1.0  # the statistics are those of the last batch, which has all posts
        if has_stages(self.args):
            self.add_callback(RestingEncoders)
        self.groups_lengths = self.args.train_sampling_strategy == "group_by_length"
        if self.groups_lengths:
            self.args.train_sampling_strategy = "random"  # Trainer's own groups need encoded posts.
        # Trainer's own smoother takes the labels away from the model, and with them the architecture's other losses.
        self.label_smoother = None
        self.set_class_weights(class_weights)

    def set_class_weights(self, weights: list[float] | None) -> None:
        """Set the weight of each class in the cross-entropy."""
        unwrap_peft_model(self.model).set_loss(weights, self.args.label_smoothing_factor)

    def adapt_dataloader(self, loader: DataLoader, is_training: bool) -> DataLoader:
        loader = super().adapt_dataloader(loader, is_training)
        if self.groups_lengths and is_training:
            batch_size = loader.total_batch_size * self.args.gradient_accumulation_steps
            loader.set_sampler(LengthGroups(batch_size, text_lengths(loader.dataset), self.args.seed))
        elif self.groups_lengths:
            loader.set_sampler(longest_first(loader.dataset))
        return loader

    def predict(self, test_dataset, *args, **kwargs) -> PredictionOutput:
        """Return predictions in the order of the posts, also if they were made in the order of the texts' lengths."""
        output = super().predict(test_dataset, *args, **kwargs)
        if not self.groups_lengths:
            return output
        order = np.argsort(longest_first(test_dataset))
        return output._replace(predictions=output.predictions[order], label_ids=output.label_ids[order])

    def training_step(self, model, inputs, *args, **kwargs) -> torch.Tensor:
        """Train on a batch. A loss that is not finite stops the run: all later weights would be useless.

        Raises:
            ValueError: If the loss is not finite. The message names the step, the posts and the learning rate.
        """
        ids = inputs.pop("ids", None) or ["of unknown ids"]
        self.compute_gradients = partial(super().training_step, model, inputs, *args, **kwargs)
        loss = self.compute_gradients()
        if not torch.isfinite(loss):
            rates = ", ".join(f"{rate:g}" for rate in {group["lr"]: None for group in self.optimizer.param_groups})
            raise ValueError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()} with the learning rate {rates}, "
                f"for the posts {', '.join(ids)}. Lower the learning rate, or look at these posts; checkpoints stay."
            )
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, unless its weights are not finite after the last step."""
        for name, weight in unwrap_peft_model(self.accelerator.unwrap_model(self.model)).named_parameters():
            if not weight.isfinite().all():
                raise ValueError(
                    f"step {self.state.global_step}: the weights {name} are not finite. Lower the learning rate "
                    f"({self.args.learning_rate:g}); earlier checkpoints stay."
                )
        super().save_model(output_dir, _internal_call)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Evaluate a batch without the repeated posts that make the last batches of all processes equally long.

        Trainer drops the predictions of such posts, but its loss is the mean over the whole batch.
        """
        inputs.pop("ids", None)
        loader = self.accelerator.gradient_state
        if self.args.world_size == 1 or not loader.end_of_dataloader or loader.remainder <= 0:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        own_posts = loader.remainder - self.args.process_index * len(inputs["labels"])
        own_posts = max(own_posts, 1)  # With FSDP, every process must call the model.
        inputs = {name: value[:own_posts] for name, value in inputs.items()}
        loss, *outputs = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        if prediction_loss_only:
            return loss, None, None
        return loss, *(self.accelerator.pad_across_processes(output) for output in outputs)

    def create_optimizer(self, model=None) -> Optimizer:
        optimizer = super().create_optimizer(model)
        if self.args.lbfgs:
            optimizer = self.optimizer = FullBatchLBFGS(optimizer.param_groups, lambda: self.compute_gradients())
        if has_part_rates(self.args):
            split_parameter_groups(optimizer, self.accelerator.unwrap_model(self.model), self.args)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if has_stages(self.args) or self.args.lr_decay is not None:
            self.lr_scheduler = add_decay_and_stages(scheduler, self.args, num_training_steps, self.steps_per_epoch)
        return self.lr_scheduler


def share_batch_norm(model: MultimodalPreTrainedModel, args: RunArguments) -> None:
    """Make the BatchNorm of trained image encoders use the batches of all processes for its statistics.

    PyTorch can do this on GPUs only. On CPUs a warning says that each process has its own statistics. The names of
    the weights do not change.
    """
    if args.world_size == 1 or model.config.freeze_image:
        return
    encoders = model.encoders("image").values()
    encoders = [encoder for encoder in encoders if any(isinstance(m, _BatchNorm) for m in encoder.modules())]
    if not encoders:
        return
    if args.device.type == "cuda":
        for encoder in encoders:  # This keeps what timm's layers do after the norm.
            encoder.backbone = convert_sync_batchnorm(encoder.backbone)
    elif args.process_index == 0:
        logger.warning(
            "The image encoder's BatchNorm takes its statistics from the posts of each process alone: on CPUs, %d "
            "processes do not train the same model as one process with batches of the same total size.",
            args.world_size,
        )
