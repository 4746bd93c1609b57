"""What a person sees of a run: the summary, one bar, the time left, the figures."""

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from transformers import TrainerControl, TrainerState

from mmsent.training import console as report
from mmsent.training.console import (
    OneBar,
    Progress,
    confusion_figure,
    count_parameters,
    duration,
    learning_curves,
    write_figures,
)

NAMES = ["negative", "neutral", "positive"]
MATRIX = [[120, 30, 3], [14, 250, 40], [3, 45, 900]]
LOG = [
    {"epoch": 1.0, "loss": 1.0},
    {"epoch": 1.0, "eval_loss": 0.9, "eval_accuracy": 0.5},
    {"epoch": 2.0, "loss": 0.7},
    {"epoch": 2.0, "eval_loss": 0.8, "eval_accuracy": 0.6},
]


def texts(figure) -> list[str]:
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    return found + [label.get_text() for axis in figure.axes for label in axis.get_xticklabels()]


def test_a_confusion_matrix_has_its_counts_and_names():
    figure = confusion_figure(MATRIX, NAMES, "test: accuracy 90.4%")
    assert "250\n82%" in texts(figure)
    assert set(NAMES) <= set(texts(figure))
    axis = figure.axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    colors = {text.get_text(): text.get_color() for text in axis.texts}
    assert (colors["900\n95%"], colors["3\n2%"]) == ("white", "black")  # readable on dark and on pale


@pytest.mark.parametrize("names", [NAMES, ["a class with a very long name"] * 3, [f"class {n}" for n in range(12)]])
def test_nothing_is_clipped(tmp_path, names):
    """A margin of white all around: no letter touches the edge."""
    matrix = np.full((len(names), len(names)), 12345).tolist()
    run = {"scores": {"test": {"confusion_matrix": matrix, "accuracy": 0.5}}, "log": LOG, "best_epoch": 2.0}
    write_figures(tmp_path, run, names, "accuracy")
    for name in ("confusion_test.png", "learning_curves.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert min(edge.min() for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:])) == 255, name
        assert (pixels < 128).mean() > 0.001


def test_chinese_names_are_drawn_with_a_font_that_has_them_or_as_numbers(monkeypatch):
    monkeypatch.setattr(report, "_families", lambda: ["DejaVu Sans"])
    assert {"class 0", "class 1", "class 2"} <= set(texts(confusion_figure(MATRIX, ["负面", "中性", "正面"], "")))
    monkeypatch.setattr(report, "_families", lambda: ["DejaVu Sans", "Noto Sans CJK SC"])
    figure = confusion_figure(MATRIX, ["负面", "中性", "正面"], "")
    assert "负面" in texts(figure)
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == ["DejaVu Sans", "Noto Sans CJK SC"]


def test_learning_curves():
    figure = learning_curves(LOG, "accuracy", best_epoch=2)
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines["training"] == [[1, 1.0], [2, 0.7]]
    assert lines["validation"] == [[1, 0.9], [2, 0.8]]
    scores = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[1].lines}
    assert scores["validation"] == [[1, 0.5], [2, 0.6]]
    assert scores["the model that is kept"] == [[2, 0], [2, 1]]
    assert len(learning_curves([{"epoch": 1.0, "loss": 1.0}], "accuracy", 1).axes) == 1  # nothing was evaluated


def test_figures_leave_pyplot_alone(tmp_path):
    import matplotlib.pyplot as plt

    before, backend = dict(mpl.rcParams), mpl.get_backend()
    scores = {"test": {"confusion_matrix": MATRIX, "accuracy": 0.9}}
    write_figures(tmp_path, {"scores": scores, "log": LOG, "best_epoch": 1.0}, NAMES, "eval_accuracy")
    assert (dict(mpl.rcParams), mpl.get_backend(), plt.get_fignums()) == (before, backend, [])


def test_without_matplotlib_a_line_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    write_figures(tmp_path, {}, NAMES, "accuracy")
    assert 'without matplotlib: pip install -e ".[explain]"' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "words"), [(4.2, "4 s"), (100, "2 min"), (3600 * 3 + 1200, "3 h 20 min")])
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_the_time_left_is_said_once(monkeypatch, capsys):
    clock = iter([100.0, 120.0])  # the end of the first step, and of the tenth after it
    monkeypatch.setattr(report.time, "perf_counter", lambda: next(clock))
    said, state = Progress(), TrainerState(max_steps=100, num_train_epochs=4, global_step=50)
    control = TrainerControl()
    said.on_train_begin(None, state, control)
    for state.global_step in range(51, 101):
        said.on_step_end(None, state, control)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "50 steps to go, 4 epochs in all.",
        "About 78 s of training left at 2 s a step, evaluations not counted.",
    ]
    said.on_train_begin(None, TrainerState(max_steps=9, is_world_process_zero=False), control)
    assert capsys.readouterr().out == ""


def test_an_evaluation_has_no_bar_beside_that_of_the_training(capsys):
    bar, state, control = OneBar(), TrainerState(max_steps=4, num_train_epochs=1, epoch=0.5), TrainerControl()
    bar.on_train_begin(None, state, control)
    bar.on_prediction_step(None, state, control, eval_dataloader=[1, 2])
    assert bar.prediction_bar is None
    bar.on_log(None, state, control, logs={"eval_loss": 0.51234, "eval_accuracy": 0.75, "eval_runtime": 3.0})
    assert "epoch 0.5: eval_loss 0.5123  eval_accuracy 0.75\n" in capsys.readouterr().out
    bar.on_train_end(None, state, control)
    bar.on_prediction_step(None, state, control, eval_dataloader=[1, 2])
    assert bar.prediction_bar is not None


def test_parameters_are_counted(backbones):
    import tiny

    _, model = tiny.build("comn", "transformers", backbones, freeze_text=True)
    counted = count_parameters(model.train())
    of_text = sum(parameter.numel() for parameter in model.base_model.text_encoder.parameters())
    assert counted["total"] - counted["trainable"] == of_text > 0


def test_a_run_says_what_it_is_about_to_do_and_draws_what_it_did(run, tmp_path, standins, capsys):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    made = run(tmp_path / "run", "--dataset", "twitter2015", "--data_dir", str(folder))
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("train ", "test "))}
    assert rows["train"][0] == "4"
    assert sum(map(int, rows["train"][1:4])) == 4
    assert rows["train"][4] == f"{max(map(int, rows['train'][1:4])) / 4:.2%}"
    size = made["parameters"]["total"]
    assert f"{size:,} of {size:,} parameters are trained (100.0%)." in out
    assert f"scores will be in {tmp_path / 'run'}" in out
    assert out.index("majority class") < out.index("1 steps to go, 1 epochs in all.")
    drawn = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert drawn == {"confusion_test.png", "confusion_validation.png", "learning_curves.png"}
    for key in ("command", "seed", "versions", "git", "corpus_sha256", "weights_sha256", "log"):
        assert made[key], key
