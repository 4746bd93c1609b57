"""A run that is interrupted after its training ends with all its files when it is started again."""

import pytest

import train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["score_splits", "write_figures", "finish"])
def test_a_full_disk_after_the_training(run, tmp_path, monkeypatch, name):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(train, name, full)
        with pytest.raises(OSError, match=f"^the disk is full: {tmp_path} could not be written"):
            run(tmp_path)
    assert not (tmp_path / "run.json").exists()
    run(tmp_path)
    assert {"run.json", "predictions_test.jsonl", "learning_curves.png"} <= {path.name for path in tmp_path.iterdir()}


def test_a_checkpoint_that_a_killed_run_was_deleting_at_its_end(run, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "weights").touch()
    with pytest.raises(ValueError, match="holds a trained model"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
