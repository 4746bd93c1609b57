"""Complete and incomplete checkpoints in the folder of a run."""

import pytest

from mmsent.training.run_folder import (
    begin,
    checkpoints,
    complete_checkpoint,
    finish,
    is_complete,
    prune_checkpoints,
    remove_checkpoint,
)


@pytest.fixture
def run(tmp_path):
    """The folder of a run with the complete checkpoints 3, 6 and 12."""
    for step in (12, 3, 6):
        checkpoint = tmp_path / f"checkpoint-{step}"
        (checkpoint / "shards").mkdir(parents=True)
        (checkpoint / "weights").write_bytes(b"weights")
        (checkpoint / "shards" / "0").write_bytes(b"shard")
        complete_checkpoint(checkpoint)
    (tmp_path / "checkpoint-of-mine").mkdir()
    return tmp_path


def names(run) -> list[str]:
    return [path.name for path in checkpoints(run)]


@pytest.mark.parametrize("damage", ["contents.json", "shards/0", "shorter"])
def test_incomplete_checkpoints_are_ignored_and_deleted(run, damage):
    assert names(run) == ["checkpoint-3", "checkpoint-6", "checkpoint-12"]
    if damage == "shorter":
        (run / "checkpoint-12" / "weights").write_bytes(b"weight")
    else:
        (run / "checkpoint-12" / damage).unlink()
    (run / "tmp-1234-settings.json").touch()
    assert not is_complete(run / "checkpoint-12")
    assert names(run) == ["checkpoint-3", "checkpoint-6"]
    (run / "settings.json").write_text("{}")
    begin(run, {}, overwrite=False)
    remaining = {"checkpoint-3", "checkpoint-6", "checkpoint-of-mine", "settings.json"}
    assert {path.name for path in run.iterdir()} == remaining


def test_a_checkpoint_that_is_partly_deleted_is_incomplete(run, monkeypatch):
    monkeypatch.setattr("shutil.rmtree", lambda path: None)  # The process is killed here.
    remove_checkpoint(run / "checkpoint-12")
    assert (run / "checkpoint-12" / "weights").exists()
    assert names(run) == ["checkpoint-3", "checkpoint-6"]


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [(1, None, [12]), (1, "checkpoint-3", [3, 12]), (2, None, [6, 12]), (2, "checkpoint-3", [3, 12]), (0, None, None)],
)
def test_old_checkpoints_are_deleted(run, limit, best, kept):
    prune_checkpoints(run, limit, best)
    assert names(run) == [f"checkpoint-{step}" for step in kept or (3, 6, 12)]


def test_of_a_finished_run_only_the_best_checkpoint_remains(run):
    finish(run, {}, limit=1, best="elsewhere/checkpoint-6")
    assert names(run) == ["checkpoint-6"]


def test_unreadable_settings_are_refused(run):
    (run / "settings.json").write_text("{")
    with pytest.raises(SystemExit, match=r"settings\.json cannot be read"):
        begin(run, {}, overwrite=False)
    begin(run, {}, overwrite=True)
    assert not checkpoints(run)
