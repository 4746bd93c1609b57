"""What `mmsent export` and `mmsent push --dry_run` do after errors and kills. `benchmarks/soak.py` kills them."""

import sys
from unittest.mock import Mock

import pytest
from datasets import load_dataset

from mmsent.dataset_scripts.common_files import locked
from mmsent.hub import push, staging
from mmsent.hub.export import CARD, STATE, export


@pytest.fixture(scope="module")
def corpus():
    return load_dataset("sample_posts").filter(lambda post_id: post_id.endswith("7"), input_columns="id")


@pytest.fixture
def push_corpus(monkeypatch, tmp_path):
    """Stage the corpus in the folder `exported` as the folder `dry`."""

    def push_corpus() -> None:
        argv = ["mmsent push", "corpus", str(tmp_path / "exported"), "--repo_id", "me/x"]
        monkeypatch.setattr(sys, "argv", [*argv, "--dry_run", str(tmp_path / "dry")])
        push.main()

    return push_corpus


def test_an_export_that_was_killed_while_it_began(corpus, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / f"tmp-0123abcd-{STATE}").write_text("{")
    (output / ".out.lock").write_text("process 1 on host")
    export(corpus, "sample_posts", "default", output)
    assert {path.name for path in output.iterdir()} == {CARD, "data"}


def test_a_second_export_into_the_same_folder_is_refused(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(ValueError, match="writes to"):
        export(corpus, "sample_posts", "default", tmp_path / "out")


def test_a_dry_run_leaves_a_whole_folder_or_none(corpus, tmp_path, push_corpus, monkeypatch, capsys):
    export(corpus, "sample_posts", "default", tmp_path / "exported")
    (tmp_path / "dry").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(staging.shutil, "copyfile", Mock(side_effect=OSError(28, "No space left on device")))
        with pytest.raises(SystemExit, match="2"):
            push_corpus()
    assert f"the disk is full: {tmp_path / 'dry'} could not be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    (tmp_path / "tmp-0123abcd-dry").mkdir()  # of a killed command
    (tmp_path / "tmp-0123abcd-dry" / CARD).touch()
    push_corpus()
    assert {path.name for path in tmp_path.iterdir()} == {"exported", "dry"}
    names = [{path.name for path in (tmp_path / name).rglob("*")} for name in ("exported", "dry")]
    assert names[0] == names[1]
