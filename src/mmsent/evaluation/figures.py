"""Draw the confusion matrices, reliability diagrams and learning curves of a run.

matplotlib draws them, which the extra `explain` installs.
"""

from importlib.util import find_spec
from pathlib import Path

# Fonts that systems and users install for Chinese, Japanese and Korean; matplotlib's own font has no such letters.
CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "SimHei", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB"),
    *("Heiti SC", "Arial Unicode MS", "AR PL UMing CN", "Unifont"),
)


def write_figures(output_dir: Path, run: dict, label_names: list[str], metric: str | None = None) -> None:
    """Write `confusion_<split>.png` and `reliability_<split>.png` for every split that run.json or evaluation.json
    scores, and `learning_curves.png` with `metric` unless it is None.

    Without matplotlib, print how to install it and write nothing.
    """
    if find_spec("matplotlib") is None:
        print('Confusion matrices and learning curves are not drawn without matplotlib: pip install -e ".[explain]"')
        return
    figures = {}
    if metric is not None:
        figures["learning_curves"] = learning_curves(run["log"], metric.removeprefix("eval_"), run["best_epoch"])
    for split, scores in run["scores"].items():
        matrix = scores["confusion_matrix"]
        title = f"{split}: accuracy {scores['accuracy']:.1%} of {sum(map(sum, matrix)):,} posts"
        figures[f"confusion_{split}"] = confusion_figure(matrix, label_names, title)
        calibration = run["calibration"]["after"][split]
        title = f"{split}: expected calibration error {calibration['ece']:.1%}"
        figures[f"reliability_{split}"] = reliability_figure(calibration["reliability"], title)
    for name, figure in figures.items():
        figure.savefig(output_dir / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.1)


def confusion_figure(matrix: list[list[int]], label_names: list[str], title: str):
    """Return a matplotlib Figure of a confusion matrix, in which each row (a true class) is shaded by its shares.

    Names in letters that no installed font has are replaced by numbers.
    """
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed, count = fontManager.get_font_names(), len(label_names)
    fonts = ["DejaVu Sans", *[name for name in CJK_FONTS if name in installed][:1]]
    if len(fonts) == 1 and any(ord(letter) >= 0x2E80 for name in label_names for letter in name):
        label_names = [f"class {index}" for index in range(count)]
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in label_names]
    longest = max(map(len, names))
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
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest * count > 32 else {}
    axis.set_xticks(range(count), names, fontfamily=fonts, **slanted)
    axis.set_yticks(range(count), names, fontfamily=fonts)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(title, fontsize=10)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def reliability_figure(reliability: list[dict], title: str):
    """Return a matplotlib Figure of the accuracy of each bin of `calibration` over its mean confidence.

    On the dashed line, a score says exactly how often the prediction is right.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    points = [(entry["confidence"], entry["accuracy"]) for entry in reliability]
    axis.plot(*zip(*points, strict=True), color="C0", marker="o", markersize=4)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="score of the prediction", ylabel="share of right predictions")
    axis.set_title(title, fontsize=10)
    axis.set_aspect("equal")
    axis.grid(color="0.92")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def learning_curves(log: list[dict], metric: str, best_epoch: float):
    """Return a matplotlib Figure of the losses in Trainer's log, and of the validation score `metric` if it is there.

    A dashed line marks `best_epoch`, whose model is saved.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves = [("loss", {"training": "loss", "validation": "eval_loss"})]
    if any(f"eval_{metric}" in entry for entry in log):
        curves.append((metric, {"validation": f"eval_{metric}"}))
    figure = Figure(figsize=(6.4, 1 + 2.2 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, keys) in zip(panels, curves, strict=True):
        for label, key in keys.items():
            color = "C0" if label == "training" else "C1"
            points = [(entry["epoch"], entry[key]) for entry in log if key in entry]
            if points:
                panel.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, label=label)
        if len(curves) > 1:
            panel.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1, label="saved model")
        if panel.lines:
            panel.legend(frameon=False, fontsize=8)
        panel.set_ylabel(name.replace("_", " "))
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
