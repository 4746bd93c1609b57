"""What a person sees of a run while it goes and afterwards: a summary, one progress bar, the time left, two figures.

The figures need matplotlib, which comes with the extra `explain`; without it a line says so and the run goes on.
"""

import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from torch import nn
from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback

TIMED_STEPS = 10  # after so many the speed is known; the first, which warms up, does not count
# What systems and their users install for Chinese, Japanese and Korean; matplotlib's own font has none of it.
CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "SimHei", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB"),
    *("Heiti SC", "Arial Unicode MS", "AR PL UMing CN", "Unifont"),
)


# ------------------------------------------------------------------------------------------------ before and meanwhile


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers training changes, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"trainable": sum(size for size, trained in sizes if trained), "total": sum(size for size, _ in sizes)}


def print_summary(
    labels: dict[str, list[int]], names: list[str], parameters: dict[str, int], output_dir: Path
) -> None:
    """What is about to be trained on what: posts and classes of every split, the floor, parameters, where it goes."""
    most = Counter(labels["train"]).most_common(1)[0][0]
    width = max(12, *(len(name) + 2 for name in names))
    print(f"\n{'':12}{'posts':>8}" + "".join(f"{name:>{width}}" for name in names) + f"{'majority class':>18}")
    for split, values in labels.items():
        counts = Counter(values)
        row = "".join(f"{counts[index]:>{width},}" for index in range(len(names)))
        print(f"{split:12}{len(values):>8,}{row}{counts[most] / len(values):>18.2%}")
    trainable, total = parameters["trainable"], parameters["total"]
    print(f"{trainable:,} of {total:,} parameters are trained ({trainable / total:.1%}).")
    print(f"The model, its processor and its scores will be in {output_dir}", flush=True)


class Progress(TrainerCallback):
    """Says how many steps there are and, after the first few, how long they will take."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.first, self.started = state.global_step + 1, None
        if state.is_world_process_zero:
            steps = state.max_steps - state.global_step
            tqdm.write(f"{steps:,} steps to go, {state.num_train_epochs} epochs in all.")

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.first:
            self.started = time.perf_counter()
        if state.global_step == self.first + TIMED_STEPS and state.is_world_process_zero:
            a_step = (time.perf_counter() - self.started) / TIMED_STEPS
            left = a_step * (state.max_steps - state.global_step)
            tqdm.write(f"About {duration(left)} of training left at {a_step:.2g} s a step, evaluations not counted.")


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class OneBar(ProgressCallback):
    """transformers' progress bar of the training, with a line of scores a log; evaluations have no bar beside it."""

    def on_prediction_step(self, args, state, control, **kwargs):
        if self.training_bar is None:
            super().on_prediction_step(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None:
            words = ("loss", "accuracy", "macro_f1", "weighted_f1")
            scores = [f"{name} {value:.4g}" for name, value in logs.items() if name.endswith(words)]
            self.training_bar.write(f"epoch {state.epoch:.4g}: {'  '.join(scores)}")


# --------------------------------------------------------------------------------------------------------- afterwards


def write_figures(output_dir: Path, run: dict, label_names: list[str], metric: str) -> None:
    """`confusion_<split>.png` of every scored split and `learning_curves.png`, from what run.json says.

    Args:
        metric: the score of the validation split whose curve is drawn.
    """
    if find_spec("matplotlib") is None:
        print('Confusion matrices and learning curves are not drawn without matplotlib: pip install -e ".[explain]"')
        return
    for split, scores in run["scores"].items():
        title = f"{split}: accuracy {scores['accuracy']:.1%} of {sum(map(sum, scores['confusion_matrix'])):,} posts"
        figure = confusion_figure(scores["confusion_matrix"], label_names, title)
        figure.savefig(output_dir / f"confusion_{split}.png", dpi=150, bbox_inches="tight", pad_inches=0.1)
    figure = learning_curves(run["log"], metric.removeprefix("eval_"), run["best_epoch"])
    figure.savefig(output_dir / "learning_curves.png", dpi=150, bbox_inches="tight", pad_inches=0.1)


def confusion_figure(matrix: list[list[int]], label_names: list[str], title: str):
    """A matplotlib Figure: rows are true classes, columns predicted ones, shaded by share of the row."""
    from matplotlib.figure import Figure

    families = _families()
    names = label_names
    if families == ["DejaVu Sans"] and any(ord(letter) >= 0x2E80 for name in names for letter in name):
        names = [f"class {index}" for index in range(len(names))]  # no font at hand has the letters
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    count, longest = len(names), max(map(len, names))
    side = max(3.2, 0.62 * count)
    figure = Figure(figsize=(side + 1.2 + 0.07 * longest, side + 0.9), layout="constrained")
    axis = figure.subplots()
    shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, row in enumerate(matrix):
        for predicted, cell in enumerate(row):
            share = shares[true][predicted]
            text = f"{cell:,}\n{share:.0%}" if count <= 10 else f"{cell:,}"
            color = "white" if share > 0.55 else "black"
            axis.text(predicted, true, text, ha="center", va="center", color=color, fontsize=9 if count <= 10 else 7)
    turned = longest * count > 32
    axis.set_xticks(
        *(range(count), names),
        **{"rotation": 45 if turned else 0, "ha": "right" if turned else "center", "rotation_mode": "anchor"},
        fontfamily=families,
    )
    axis.set_yticks(range(count), names, fontfamily=families)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, fontsize=10)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def learning_curves(log: list[dict], metric: str, best_epoch: float):
    """A matplotlib Figure: losses of training and validation over the epochs, and below them `metric`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    score = f"eval_{metric}"
    scored = any(score in entry for entry in log)
    figure = Figure(figsize=(6.4, 5.4 if scored else 3.2), layout="constrained")
    panels = figure.subplots(2 if scored else 1, 1, sharex=True, squeeze=False)[:, 0]
    lines = [(panels[0], "loss", "training", "C0"), (panels[0], "eval_loss", "validation", "C1")]
    lines += [(panels[1], score, "validation", "C1")] if scored else []
    for panel, key, name, color in lines:
        points = [(entry["epoch"], entry[key]) for entry in log if key in entry]
        if points:
            panel.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, label=name)
    panels[0].set_ylabel("loss")
    if scored:
        panels[1].set_ylabel(metric.replace("_", " "))
    for panel in panels:
        if scored:
            panel.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1, label="the model that is kept")
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
        if panel.lines:
            panel.legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _families() -> list[str]:
    """matplotlib's own font, and after it one for Chinese, Japanese and Korean where the system has one."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *[name for name in CJK_FONTS if name in installed][:1]]
