"""The summary of a run, its progress bar and the remaining time."""

import re

from transformers import TrainerControl, TrainerState

from mmsent.training.console import OneBar, Progress


def test_the_remaining_time_is_printed_once(capsys):
    progress, state = Progress(), TrainerState(max_steps=100, num_train_epochs=4, global_step=50)
    control = TrainerControl()
    progress.on_train_begin(None, state, control)
    for state.global_step in range(51, 101):
        progress.on_step_end(None, state, control)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "50 steps remain of a training of 4 epochs."
    assert re.fullmatch(r"About 0:00:00 of training remain at \S+ s per step, without evaluations\.", second)
    progress.on_train_begin(None, TrainerState(max_steps=9, is_world_process_zero=False), control)
    assert capsys.readouterr().out == ""


def test_an_evaluation_within_the_training_has_no_bar(capsys):
    bar, state, control = OneBar(), TrainerState(max_steps=4, num_train_epochs=1, epoch=0.5), TrainerControl()
    bar.on_train_begin(None, state, control)
    bar.on_prediction_step(None, state, control, eval_dataloader=[1, 2])
    assert bar.prediction_bar is None
    bar.on_log(None, state, control, logs={"eval_loss": 0.51234, "eval_accuracy": 0.75, "eval_runtime": 3.0})
    assert "epoch 0.5: eval_loss 0.5123  eval_accuracy 0.75\n" in capsys.readouterr().out
    bar.on_train_end(None, state, control)
    bar.on_prediction_step(None, state, control, eval_dataloader=[1, 2])
    assert bar.prediction_bar is not None


def test_a_run_prints_a_summary_and_draws_figures(run, tmp_path, standins, capsys):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    report = run(tmp_path / "run", "--dataset", "twitter2015", "--data_dir", str(folder))
    out = capsys.readouterr().out
    cells = next(line.split() for line in out.splitlines() if line.startswith("train "))
    assert cells[1] == "4"
    assert sum(map(int, cells[2:5])) == 4
    assert cells[5] == f"{max(map(int, cells[2:5])) / 4:.2%}"
    size = report["parameters"]["total"]
    assert f"{size:,} of {size:,} parameters are trained (100.0%)." in out
    assert f"scores will be in {tmp_path / 'run'}" in out
    assert out.index("majority class") < out.index("1 steps remain")
    assert (tmp_path / "run" / "report.html").exists()
    figures = {path.name for path in (tmp_path / "run").glob("*.png")}
    of_splits = {f"{kind}_{split}.png" for kind in ("confusion", "reliability") for split in ("validation", "test")}
    assert figures == {"learning_curves.png"} | of_splits
    for key in ("command", "seed", "versions", "git", "corpus_sha256", "weights_sha256", "log"):
        assert report[key], key
