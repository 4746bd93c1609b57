"""The confusion matrices and learning curves of a run."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from PIL import Image

from mmsent.evaluation import figures
from mmsent.evaluation.figures import confusion_figure, learning_curves, reliability_figure, write_figures

NAMES = ["negative", "neutral", "positive"]
CHINESE = ["负面", "中性", "正面"]
MATRIX = [[120, 30, 3], [14, 250, 40], [3, 45, 900]]
LOG = [
    {"epoch": 1.0, "loss": 1.0},
    {"epoch": 1.0, "eval_loss": 0.9, "eval_accuracy": 0.5},
    {"epoch": 2.0, "loss": 0.7},
    {"epoch": 2.0, "eval_loss": 0.8, "eval_accuracy": 0.6},
]


def pyplot_state() -> tuple:
    return dict(mpl.rcParams), mpl.get_backend(), plt.get_fignums()


def class_names(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_a_confusion_matrix_has_its_counts_and_names():
    figure = confusion_figure(MATRIX, NAMES, "test: accuracy 90.4%")
    axis = figure.axes[0]
    colors = {text.get_text(): text.get_color() for text in axis.texts}
    assert "250\n82%" in colors
    assert (colors["900\n95%"], colors["3\n2%"]) == ("white", "black")  # readable on dark and on light cells
    assert class_names(figure) == NAMES
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("names", [NAMES, ["a class with a very long name"] * 3, [f"class {n}" for n in range(12)]])
def test_nothing_is_clipped(tmp_path, names):
    """Every figure has a white margin on all sides, and the state of pyplot does not change."""
    before = pyplot_state()
    matrix = np.full((len(names), len(names)), 12345).tolist()
    calibration = {"after": {"test": {"ece": 0.1, "reliability": [{"confidence": 0.4, "accuracy": 0.3}]}}}
    run = {"scores": {"test": {"confusion_matrix": matrix, "accuracy": 0.5}}, "log": LOG, "best_epoch": 2.0}
    run["calibration"] = calibration
    write_figures(tmp_path, run, names, "accuracy")
    for name in ("confusion_test.png", "reliability_test.png", "learning_curves.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert min(edge.min() for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:])) == 255, name
        assert (pixels < 128).mean() > 0.001
    assert pyplot_state() == before


@pytest.mark.parametrize(
    ("fonts", "names"),
    [(["DejaVu Sans"], ["class 0", "class 1", "class 2"]), (["DejaVu Sans", "Noto Sans CJK SC"], CHINESE)],
)
def test_chinese_names_need_a_font_that_has_them(monkeypatch, fonts, names):
    monkeypatch.setattr(fontManager, "get_font_names", lambda: fonts)
    figure = confusion_figure(MATRIX, CHINESE, "")
    assert class_names(figure) == names
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == fonts


def test_a_reliability_diagram_has_a_point_per_bin():
    bins = [{"confidence": 0.4, "accuracy": 0.3}, {"confidence": 0.9, "accuracy": 0.8}]
    diagonal, line = reliability_figure(bins, "test").axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.4, 0.3], [0.9, 0.8]]


def test_learning_curves():
    figure = learning_curves(LOG, "accuracy", best_epoch=2)
    losses, scores = ({line.get_label(): line.get_xydata().tolist() for line in axis.lines} for axis in figure.axes)
    assert losses["training"] == [[1, 1.0], [2, 0.7]]
    assert losses["validation"] == [[1, 0.9], [2, 0.8]]
    assert scores["validation"] == [[1, 0.5], [2, 0.6]]
    assert scores["saved model"] == [[2, 0], [2, 1]]
    assert len(learning_curves([{"epoch": 1.0, "loss": 1.0}], "accuracy", 1).axes) == 1  # nothing was evaluated


def test_without_matplotlib_a_message_says_how_to_install_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    write_figures(tmp_path, {}, NAMES, "accuracy")
    assert 'without matplotlib: pip install -e ".[explain]"' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
