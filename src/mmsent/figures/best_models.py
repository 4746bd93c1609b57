"""The best models of the MVSO study and the figures of others that it compares them with (its appendix 1)."""

import fnmatch

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmsent.evaluation.published import published_rows

from .style import COLORS, HATCHES, clean

# What the bars show: the best of the rows whose keys have these patterns. All of them tell two classes apart.
GROUPS = {
    "image, classes": ("2/*", "6/*"),
    "image, label embedding": ("4/*", "7/*"),
    "text, classes": ("section 4.2/BiLSTM",),
    "text, label embedding": ("section 4.2/BiLSTM embedding",),
    "concatenation": ("section 4.2/concatenation",),
    "gated fusion": ("8/GL*", "section 4.2/GL*"),
    "gated fusion, label embedding": ("9/*",),
}
BENCHMARKS = "appendix 1/*"


def best_rows() -> tuple[dict[str, float], dict[str, float]]:
    """Return the best accuracy of each group in percent, and those of the benchmarks, by name."""
    keys = [key for key in published_rows() if key.startswith("mvso_study/")]
    figures = {key: float(published_rows()[key].figures["mvso"]["accuracy"]) for key in keys}

    def matching(pattern: str) -> list[str]:
        return fnmatch.filter(keys, f"mvso_study/{pattern}")

    best = {
        group: max(figures[key] for pattern in patterns for key in matching(pattern))
        for group, patterns in GROUPS.items()
    }
    return best, {published_rows()[key].name: figures[key] for key in matching(BENCHMARKS)}


def draw(best: dict[str, float], benchmarks: dict[str, float]) -> Figure:
    """Return a figure with a bar for each model, the highest first."""
    bars = sorted([*best.items(), *benchmarks.items()], key=lambda bar: bar[1])
    figure = Figure(figsize=(7, 0.9 + 0.3 * len(bars)), layout="constrained")
    axis = figure.subplots()
    for place, (name, value) in enumerate(bars):
        kind = 0 if name in best else 2
        hatch = HATCHES[0] if name in best else HATCHES[1]
        axis.barh(place, value, color=COLORS[kind], hatch=hatch, edgecolor="black", linewidth=0.5)
        axis.text(value + 0.6, place, f"{value:.1f}", va="center", fontsize=9)
    axis.set_yticks(range(len(bars)), [name for name, _ in bars])
    axis.set(xlim=(0, 100), xlabel="accuracy in percent, two classes")
    axis.axvline(50, color="0.4", linestyle="--", linewidth=1)
    handles = [
        Patch(facecolor=COLORS[0], edgecolor="black", label="MVSO study, validation split"),
        Patch(facecolor=COLORS[2], edgecolor="black", hatch=HATCHES[1], label="other papers, other posts"),
    ]
    figure.legend(handles=handles, loc="outside upper center", frameon=False, fontsize=9, ncols=2)
    clean(axis)
    return figure
