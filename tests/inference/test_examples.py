"""Test `mmsent sample`, which writes generated posts as a table with pictures."""

import csv
import sys

import pytest

from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.inference import examples
from mmsent.modeling.common_images import load_image


@pytest.fixture
def sample(monkeypatch):
    def sample(*argv: str) -> None:
        monkeypatch.setattr(sys, "argv", ["mmsent sample", *argv])
        examples.main()

    return sample


def test_the_table_and_its_pictures_are_those_of_the_corpus(sample, tmp_path, capsys):
    sample("--output", str(tmp_path / "posts"), "--split", "test", "--posts", "27")
    table = tmp_path / "posts" / "posts.csv"
    assert capsys.readouterr().out == f"27 posts are in {table}, and their pictures beside it\n"
    rows = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
    assert [tuple(row) for row in rows] == [examples.COLUMNS] * 27
    assert all(load_image(tmp_path / "posts" / row["image"]).size == (128, 128) for row in rows)
    assert sorted(row["label"] for row in rows) == ["negative"] * 9 + ["neutral"] * 9 + ["positive"] * 9
    posts = open_posts(table)  # `mmsent predict` reads the columns without being told their names
    assert [posts.post(row)["text"] for _, row in posts] == [row["text"] for row in rows]


@pytest.mark.parametrize("argv", [["--posts", "0"], ["--split", "dev"], []], ids=["no post", "split", "exists"])
def test_wrong_use_is_refused(argv, sample, tmp_path, capsys):
    output = tmp_path if not argv else tmp_path / "new"
    with pytest.raises(SystemExit) as exit_:
        sample("--output", str(output), *argv)
    assert exit_.value.code == 2
    assert "mmsent sample: error: " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
