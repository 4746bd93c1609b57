"""Print what a user sees of a run on the console: a summary, the remaining time and one progress bar."""

import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from torch import nn
from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback

from mmsent.evaluation.scores import majority_score

from .posts import RunPosts

TIMED_STEPS = 10  # number of steps that give the speed; the first step, which warms up, is not timed


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of trainable parameters and of all parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"trainable": sum(size for size, trainable in sizes if trainable), "total": sum(size for size, _ in sizes)}


def print_summary(posts: RunPosts, output_dir: Path, checkpoint: Path | None) -> None:
    """Print the posts per split and class, the majority class, the parameters, the folder and where it resumes."""
    labels, names = posts.labels, posts.label_names
    width = max(12, *(len(name) + 2 for name in names))
    print(f"\n{'':12}{'posts':>8}" + "".join(f"{name:>{width}}" for name in names) + f"{'majority class':>18}")
    for split, split_labels in labels.items():
        counts = Counter(split_labels)
        cells = "".join(f"{counts[index]:>{width},}" for index in range(len(names)))
        majority = majority_score(labels["train"], split_labels, names)["accuracy"]
        print(f"{split:12}{len(split_labels):>8,}{cells}{majority:>18.2%}")
    trainable, total = (posts.report["parameters"][name] for name in ("trainable", "total"))
    print(f"{trainable:,} of {total:,} parameters are trained ({trainable / total:.1%}).")
    print(f"The model, its processor and its scores will be in {output_dir}", flush=True)
    if posts.streamed:
        print(f"note: {posts.report['notes'][-1]}", flush=True)
    if checkpoint is not None:
        print(f"{output_dir} holds an interrupted run, which resumes from {checkpoint.name}.", flush=True)


class Progress(TrainerCallback):
    """Print the number of steps and, after the first steps, the time that the remaining ones will take."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.first, self.started = state.global_step + 1, None
        if state.is_world_process_zero:
            steps = state.max_steps - state.global_step
            tqdm.write(f"{steps:,} steps remain of a training of {state.num_train_epochs} epochs.")

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.first:
            self.started = time.perf_counter()
        if state.global_step == self.first + TIMED_STEPS and state.is_world_process_zero:
            step_seconds = (time.perf_counter() - self.started) / TIMED_STEPS
            remaining = timedelta(seconds=round(step_seconds * (state.max_steps - state.global_step)))
            tqdm.write(f"About {remaining} of training remain at {step_seconds:.2g} s per step, without evaluations.")


class OneBar(ProgressCallback):
    """Show one progress bar for the training, with a line of scores per log, and none for the evaluations in it."""

    def on_prediction_step(self, args, state, control, **kwargs):
        if self.training_bar is None:
            super().on_prediction_step(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None:
            shown = ("loss", "accuracy", "macro_f1", "weighted_f1")
            scores = [f"{name} {value:.4g}" for name, value in logs.items() if name.endswith(shown)]
            self.training_bar.write(f"epoch {state.epoch:.4g}: {'  '.join(scores)}")
