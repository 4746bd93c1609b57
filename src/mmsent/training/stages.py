"""Learning rates of their own for the text encoder, the image encoder and the rest of the model, and training in
stages."""

import math
from collections.abc import Callable

from accelerate.utils import extract_model_from_parallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import TrainerCallback
from transformers.trainer_utils import unwrap_peft_model

from mmsent.modeling.common_base import MultimodalPreTrainedModel

from .arguments import RunArguments


def has_stages(args: RunArguments) -> bool:
    """Return whether a part of the model is trained for some of the epochs only."""
    return args.text_from_epoch > 0 or args.image_from_epoch > 0 or args.rest_until_epoch is not None


def has_part_rates(args: RunArguments) -> bool:
    """Return whether the encoders need parameter groups of their own."""
    return has_stages(args) or args.text_learning_rate is not None or args.image_learning_rate is not None


def stage_steps(args: RunArguments, num_training_steps: int, steps_per_epoch: int) -> dict[str, range]:
    """Return the steps in which each part, `"text"`, `"image"` and `"rest"`, is trained.

    An epoch is a pass over the posts, also where `max_steps` ends the training.
    """

    def first_step(epoch: float) -> int:
        return round(epoch * steps_per_epoch)

    end = num_training_steps if args.rest_until_epoch is None else first_step(args.rest_until_epoch)
    return {
        "text": range(first_step(args.text_from_epoch), num_training_steps),
        "image": range(first_step(args.image_from_epoch), end),
        "rest": range(end),
    }


class RestingEncoders(TrainerCallback):
    """Keep an encoder in eval mode outside its stage, so that its running statistics do not change."""

    def on_step_begin(self, args, state, control, model, train_dataloader, **kwargs):
        steps_per_epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        stages = stage_steps(args, state.max_steps, steps_per_epoch)
        resting = tuple(part for part in ("text", "image") if state.global_step not in stages[part])
        unwrap_peft_model(extract_model_from_parallel(model)).resting = resting


def split_parameter_groups(optimizer: Optimizer, model: MultimodalPreTrainedModel, args: RunArguments) -> None:
    """Divide every parameter group into one group per part of the model, with the part's learning rate."""
    rates = {"text": args.text_learning_rate, "image": args.image_learning_rate, "rest": None}
    part_of = {
        id(parameter): part
        for part in ("text", "image")
        for encoder in unwrap_peft_model(model).encoders(part).values()
        for parameter in encoder.parameters()
    }
    groups = []
    for group in optimizer.param_groups:
        for part, rate in rates.items():
            parameters = [parameter for parameter in group["params"] if part_of.get(id(parameter), "rest") == part]
            if parameters:
                rate = group["lr"] if rate is None else rate
                groups.append(group | {"params": parameters, "part": part, "lr": rate})
    optimizer.param_groups[:] = groups


def add_decay_and_stages(
    scheduler: LRScheduler, args: RunArguments, num_training_steps: int, steps_per_epoch: int
) -> LambdaLR:
    """Return a scheduler that multiplies a schedule by `lr_decay` every `lr_decay_steps`, and by zero outside the
    stage of a parameter group.

    Raises:
        ValueError: If the schedule is not a function of the step, such as reduce_lr_on_plateau.
    """
    if not isinstance(scheduler, LambdaLR):
        raise ValueError(
            f"lr_scheduler_type={args.lr_scheduler_type} cannot be combined with stages or lr_decay. Choose a "
            "schedule that depends on the step alone, such as linear."
        )
    decay = 1.0 if args.lr_decay is None else args.lr_decay
    stages = stage_steps(args, num_training_steps, steps_per_epoch) if has_stages(args) else {}

    def factor_of(schedule: Callable[[int], float], steps: range | None) -> Callable[[int], float]:
        def factor(step: int) -> float:
            return schedule(step) * decay ** (step // args.lr_decay_steps) if steps is None or step in steps else 0.0

        return factor

    groups = scheduler.optimizer.param_groups
    schedules = zip(scheduler.lr_lambdas, groups, strict=True)
    return LambdaLR(
        scheduler.optimizer, [factor_of(schedule, stages.get(group.get("part"))) for schedule, group in schedules]
    )
