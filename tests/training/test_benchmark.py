"""Results over seeds and their table."""

import json

import pytest

from mmsent.training import benchmark

RECIPE = "dataset: sample_posts\narchitecture: gated_fusion\nmodel_kwargs: {text_hidden: 8, freeze_image: true}\n"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    recipe = tmp_path / "sample_posts" / "tiny.yaml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE)

    def run(*argv: str) -> dict:
        monkeypatch.setattr("sys.argv", ["benchmark.py", str(recipe), *argv])
        benchmark.main()
        (path,) = (tmp_path / "results" / "sample_posts").glob("*.json")
        return json.loads(path.read_text())

    return run


def test_summary():
    assert benchmark.summary([0.5, 0.7]) == {"mean": 0.6, "std": pytest.approx(0.1414, abs=1e-4), "values": [0.5, 0.7]}
    assert benchmark.summary([0.5])["std"] is None


@pytest.mark.slow
def test_seeds(results, capsys):
    rest = ["--num_train_epochs", "1", "--per_device_train_batch_size", "128", "--modalities", "text"]
    result = results("--seeds", "3", "4", "--name", "text", "--", *rest, "--disable_tqdm", "true")
    assert result["command"].startswith("python benchmark.py ")
    assert result["seeds"] == [3, 4]
    test = result["scores"]["test"]
    assert len(test["accuracy"]["values"]) == 2
    assert len(test["subgroups"]["decided_by = both"]["values"]) == 2
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "| text | test |" in line]
    assert row.split("|")[4].strip() == "2"


@pytest.mark.slow
def test_the_baseline(results):
    """Pooled features of frozen encoders tell most of the posts that the picture decides."""
    result = results("--baseline", "--", "--model_kwargs", "freeze_text=true")
    assert "seeds" not in result
    assert result["C"] > 0
    assert 1 / 3 < result["scores"]["test"]["accuracy"]["mean"] < 0.8
