"""Complete and incomplete checkpoints in the folder of a run."""

import pytest
import tiny
from datasets import Dataset, DatasetDict

from mmsent.dataset_scripts.common_schema import features
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.training.run_folder import (
    begin,
    checkpoints,
    complete_checkpoint,
    finish,
    images_checksum,
    is_complete,
    prune_checkpoints,
    refuse_other_settings,
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


@pytest.mark.parametrize("damage", ["contents.json", "shards/0", "shorter", "a list"])
def test_incomplete_checkpoints_are_ignored_and_deleted(run, damage):
    assert names(run) == ["checkpoint-3", "checkpoint-6", "checkpoint-12"]
    if damage == "shorter":
        (run / "checkpoint-12" / "weights").write_bytes(b"weight")
    elif damage == "a list":
        (run / "checkpoint-12" / "contents.json").write_text("[]")
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


@pytest.mark.parametrize("content", ["{", "[]"])
def test_unreadable_settings_are_refused(run, content):
    (run / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json cannot be read"):
        refuse_other_settings(run, {}, overwrite=False)
    begin(run, {}, overwrite=True)
    assert not checkpoints(run)


def test_overwriting_deletes_what_another_model_left(run, capsys):
    (run / "adapter").mkdir()
    for name in (
        "adapter/weights",
        "predictions_test.jsonl",
        "confusion_test.png",
        "learning_curves.png",
        "report.html",
        "notes.txt",
        "splits.json",
        "reliability_test.png",
        "search.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "vocab.txt",
        "processor_config.json",
        "common_base.py",
        "comn.py",
    ):
        (run / name).touch()
    begin(run, {}, overwrite=True)
    assert {path.name for path in run.iterdir()} == {"checkpoint-of-mine", "settings.json", "notes.txt", "search.json"}
    assert "keeps what mmsent has not written there: checkpoint-of-mine, notes.txt" in capsys.readouterr().out


def test_a_moved_corpus_is_the_same_corpus(run):
    begin(run, {"data_dir": "here", "features_dir": "here", "images_sha256": "a"}, overwrite=True)
    complete_checkpoint(run / "checkpoint-of-mine")
    (run / "checkpoint-of-mine").rename(run / "checkpoint-3")
    refuse_other_settings(run, {"data_dir": "there", "features_dir": "there", "images_sha256": "a"}, overwrite=False)
    with pytest.raises(ValueError, match="images_sha256 was a, is now b"):
        refuse_other_settings(
            run, {"data_dir": "there", "features_dir": "there", "images_sha256": "b"}, overwrite=False
        )


def test_the_checksum_of_images_is_that_of_their_content(tmp_path):
    def checksum(folder: str, seed: int) -> str:
        path = tmp_path / folder / "picture.png"
        path.parent.mkdir(exist_ok=True)
        tiny.picture(seed).save(path)
        return images_checksum(
            DatasetDict({"train": Dataset.from_dict(posts | {"images": [[str(path)]]}, features())})
        )

    posts = {"id": ["1"], "text": ["a"], "aspect": [None], "label": [0], "text_label": [0], "image_label": [0]}
    assert checksum("one", 0) == checksum("other", 0) != checksum("other", 1)


def test_the_checksum_of_images_takes_the_hashes_of_screening(tmp_path):
    path = tmp_path / "picture.png"
    tiny.picture(0).save(path)
    row = {"id": "1", "text": "a", "aspect": None, "images": [str(path)]}
    row |= dict.fromkeys(["label", "text_label", "image_label"], 0)
    corpus = DatasetDict({"train": Dataset.from_list([row], features())})
    hashes = {}
    corpus, _ = screen_images(corpus, "error", hashes)
    expected = images_checksum(corpus)
    path.unlink()
    assert images_checksum(corpus, hashes) == expected
