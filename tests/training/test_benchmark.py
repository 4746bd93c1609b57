"""`mmsent benchmark`: scores over seeds, the baseline, and the table of results."""

import json

import pytest
from tiny import ROOT

from mmsent.training import benchmark

RECIPE = "dataset: sample_posts\narchitecture: gated_fusion\nmodel_kwargs: {text_hidden: 8, freeze_image: true}\n"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return a function that runs the command in a new working directory and returns its result."""
    recipe = tmp_path / "configs" / "sample_posts" / "tiny.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    monkeypatch.chdir(tmp_path)

    def results(*argv: str) -> dict:
        monkeypatch.setattr("sys.argv", ["mmsent benchmark", str(recipe), *argv])
        benchmark.main()
        (path,) = (tmp_path / "results" / "sample_posts").glob("*.json")
        return json.loads(path.read_text())

    return results


def test_a_working_directory_without_train_is_refused(results, tmp_path, capsys):
    (tmp_path / "train.py").unlink()
    with pytest.raises(SystemExit):
        results()
    assert "there is no train.py" in capsys.readouterr().err


def test_a_training_that_fails_ends_the_command(results, tmp_path):
    (tmp_path / "train.py").unlink()
    (tmp_path / "train.py").write_text("import sys\nsys.exit(3)")
    with pytest.raises(SystemExit) as stop:
        results()
    assert stop.value.code == 3


def test_the_rows_of_a_recipe_are_measured_each_for_itself(results, tmp_path, monkeypatch, capsys):
    commands = []

    def run(arguments, seeds):
        commands.append((arguments, seeds))
        return {"scores": {"test": {metric: benchmark.summarize([0.5]) for metric in benchmark.METRICS}}}

    monkeypatch.setattr(benchmark, "run_seeds", run)
    recipe = tmp_path / "configs" / "sample_posts" / "tiny.yaml"
    recipe.write_text(RECIPE + "rows: {wide: {seed: 1}, deep: {seed: 2}, raw: {seed: 3}}\n")
    result = results("--rows", "deep", "--seeds", "4", "--", "--seed", "9")
    assert commands == [(["--config", str(recipe), "--row", "deep", "--seed", "9"], [4])]
    assert result["command"] == f"mmsent benchmark {recipe} --rows deep --seeds 4 -- --seed 9"
    with pytest.raises(ValueError, match="too many values"):  # three results now
        results()
    assert [path.stem for path in sorted((tmp_path / "results/sample_posts").glob("*"))] == [
        *("tiny_deep", "tiny_raw", "tiny_wide")
    ]
    for argv, message in ((["--rows", "high"], "there is no row high"), (["--name", "x"], "name one row with --rows")):
        with pytest.raises(SystemExit) as stop:
            results(*argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert len(commands) == 4


def test_a_table_has_one_row_per_system_and_one_for_the_majority_class(tmp_path):
    (tmp_path / "corpus").mkdir()
    metrics = {"accuracy": 0.5, "macro_f1": 0.25, "weighted_f1": 0.3}
    for name, values in (("a", [0.6, 0.8]), ("b", [0.7])):
        scores = {"test": {metric: benchmark.summarize(values) for metric in metrics}}
        result = {"seeds": values, "scores": scores, "majority": {"test": metrics}}
        (tmp_path / "corpus" / f"{name}.json").write_text(json.dumps(result))
    assert benchmark.table(tmp_path).splitlines()[2:] == [
        "| corpus | majority class | test | – | 50.0 | 25.0 | 30.0 |",
        "| corpus | a | test | 2 | 70.0 ± 14.1 | 70.0 ± 14.1 | 70.0 ± 14.1 |",
        "| corpus | b | test | 1 | 70.0 | 70.0 | 70.0 |",
    ]


def test_precision_and_recall_stand_in_a_table_of_their_own(tmp_path):
    (tmp_path / "corpus").mkdir()
    means = {name: 0.5 for name in ("accuracy", *benchmark.PRECISION_RECALL) if "_positive" not in name}
    positive = {"precision_positive": 0.83, "recall_positive": 0.857, "f1_positive": 0.844}
    for name, scores in (("older", {"accuracy": 0.5}), ("scores", means), ("signs", means | positive)):
        result = {"scores": {"test": {metric: benchmark.summarize([value]) for metric, value in scores.items()}}}
        (tmp_path / "corpus" / f"{name}.json").write_text(json.dumps(result))
    assert benchmark.precision_table(tmp_path).splitlines()[2:] == [
        "| corpus | scores | test | 50.0 | 50.0 | 50.0 | – | – | – |",
        "| corpus | signs | test | 50.0 | 50.0 | 50.0 | 83.0 | 85.7 | 84.4 |",
    ]


@pytest.mark.slow
def test_seeds(results, capsys):
    brief = ["--num_train_epochs", "1", "--per_device_train_batch_size", "128", "--modalities", "text"]
    result = results("--seeds", "3", "4", "--name", "text", "--", *brief, "--disable_tqdm", "true")
    assert result["command"].startswith("mmsent benchmark ")
    assert result["seeds"] == [3, 4]
    test = result["scores"]["test"]
    assert len(test["accuracy"]["values"]) == len(test["recall_positive"]["values"]) == 2
    assert len(test["subgroups"]["decided_by = both"]["values"]) == 2
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "| text | test |" in line]
    assert line.split("|")[4].strip() == "2"


@pytest.mark.slow
def test_the_baseline(results):
    """Pooled features of frozen encoders decide most of the posts whose label depends on the picture."""
    result = results("--baseline", "--", "--model_kwargs", "freeze_text=true")
    assert "seeds" not in result
    assert result["C"] > 0
    assert 1 / 3 < result["scores"]["test"]["accuracy"]["mean"] < 0.8
