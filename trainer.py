"""transformers' Trainer with the staged schedules of CLMLF and MDSE, and what only training does to a post."""

from collections.abc import Callable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchvision.transforms import v2
from transformers import Trainer

from arguments import RunArguments
from modeling import load_image


class MultimodalTrainer(Trainer):
    """Trains the text encoder and the rest of the model at rates of their own (`text_learning_rate`) and in stages
    (`text_from_epoch`, `rest_until_epoch`).

    A part that is not being trained has a learning rate of zero: its weights stay as they are, bit by bit, and every
    process of a distributed run goes on reporting the same gradients.

    Raises:
        ValueError: stages with a schedule that is no function of the step, such as reduce_lr_on_plateau.
    """

    args: RunArguments

    @property
    def is_staged(self) -> bool:
        return self.args.text_from_epoch > 0 or self.args.rest_until_epoch is not None

    def create_optimizer(self, model=None) -> Optimizer:
        """As Trainer does, with the text encoder's weights in parameter groups of their own where they are needed."""
        optimizer = super().create_optimizer(model)
        rate = self.args.text_learning_rate
        if self.is_staged or rate is not None:
            model = self.accelerator.unwrap_model(self.model)
            of_text = {id(p) for name, p in model.named_parameters() if ".text_encoder." in name}
            groups = []
            for group in optimizer.param_groups:
                for part in ("text", "rest"):
                    kept = [p for p in group["params"] if (id(p) in of_text) == (part == "text")]
                    groups += [group | {"params": kept, "part": part}] if kept else []
            for group in groups:
                if group["part"] == "text" and rate is not None:
                    group["lr"] = rate
            optimizer.param_groups[:] = groups
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None):
        """As Trainer does; outside its stage the rate of a part is zero."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if not self.is_staged:
            return scheduler
        if not isinstance(scheduler, LambdaLR):
            raise ValueError(f"lr_scheduler_type={self.args.lr_scheduler_type} cannot be combined with stages.")
        steps_an_epoch = num_training_steps / self.args.num_train_epochs
        start, end = round(self.args.text_from_epoch * steps_an_epoch), num_training_steps
        if self.args.rest_until_epoch is not None:
            end = round(self.args.rest_until_epoch * steps_an_epoch)
        stages = {"text": (start, num_training_steps), "rest": (0, end)}
        groups = scheduler.optimizer.param_groups
        scheduler.lr_lambdas = [
            _between(factor, *stages[group["part"]])
            for factor, group in zip(scheduler.lr_lambdas, groups, strict=True)
        ]
        for group, rate, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = rate * factor(0)
        return scheduler


def _between(factor: Callable[[int], float], start: int, end: int) -> Callable[[int], float]:
    return lambda step: factor(step) if start <= step < end else 0.0


class AugmentedPosts(torch.utils.data.Dataset):
    """The posts of a training split, changed a little and anew each time one is read, as CLMLF and MDSE do.

    Args:
        posts: rows of a corpus.
        image_augmentation: any of `"flip"` (left to right, every second time), `"crop"` (a tenth of the picture is
            added around it, mirrored, and the old size cut out of that somewhere), `"erase"` (a rectangle of 2 to 33 %
            is made black, every second time).
        text_augmentation: a column with the text in other words (back-translated, say), which stands in for the text
            every second time; None for none.

    Raises:
        ValueError: the corpus has no such column.
    """

    def __init__(self, posts, image_augmentation: list[str], text_augmentation: str | None):
        if text_augmentation is not None and text_augmentation not in posts.column_names:
            raise ValueError(
                f"text_augmentation={text_augmentation}: the corpus has no such column, only "
                f"{', '.join(posts.column_names)}."
            )
        self.posts = posts
        self.image_augmentation = image_augmentation
        self.text_augmentation = text_augmentation

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, row: int) -> dict:
        post = dict(self.posts[row])
        if self.image_augmentation:
            post["images"] = [self._change(load_image(image)) for image in post["images"]]
        if self.text_augmentation is not None and post[self.text_augmentation] and torch.rand(()) < 0.5:
            post["text"] = post[self.text_augmentation]
        return post

    def _change(self, image):
        pixels = v2.functional.pil_to_tensor(image)  # (3, H, W) uint8
        height, width = pixels.shape[1:]
        steps = {
            "flip": v2.RandomHorizontalFlip(),
            "crop": v2.RandomCrop((height, width), padding=(width // 10, height // 10), padding_mode="symmetric"),
            "erase": v2.RandomErasing(),
        }
        for name in self.image_augmentation:
            pixels = steps[name](pixels)
        return v2.functional.to_pil_image(pixels)
