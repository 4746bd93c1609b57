"""Own posts: every form of table gives the same corpus, with everything that corpora have."""

import csv
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, load_dataset
from standins import draw, write_posts

import mmsent
from mmsent.dataset_scripts import common_rows
from mmsent.dataset_scripts.common_corpus import corpus_notes, rows_hash, undecoded
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.dataset_scripts.posts.plan import read_split_file, write_split_file
from mmsent.evaluation import audit
from mmsent.hub import export

COLUMNS = ["id", "label", "text", "aspect"]


def read_rows(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    return write_posts(tmp_path / "mine")


def table_in(folder: Path, form: str) -> Path:
    """Write the table in another form."""
    rows, path = read_rows(folder / "posts.csv"), folder / f"other.{form.partition('-')[0]}"
    if form == "tsv":
        write_rows(path, rows)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif form == "parquet":
        frame = pd.DataFrame(rows).sample(frac=1, random_state=0)  # an index column, and pandas metadata
        frame["sentiment"] = frame["sentiment"].astype("category")
        frame.to_parquet(path, row_group_size=7)
    else:
        frame = pd.DataFrame(rows)
        frame["photo"] = [(folder / name).read_bytes() for name in frame["photo"]]
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("form", ["tsv", "jsonl", "parquet", "parquet-bytes"])
def test_every_form_gives_the_same_posts(form, folder, load, monkeypatch):
    monkeypatch.setattr(common_rows, "PARQUET_ROWS", 4)
    expected = load("posts", data_files=str(folder / "posts.csv"))
    assert {split: len(posts) for split, posts in expected.items()} == {"train": 48, "validation": 6, "test": 6}
    corpus = load("posts", data_files=str(table_in(folder, form)))
    for split, posts in expected.items():
        # Bytes have no name, which is part of the id where the table has no ids: only the content is the same.
        ids = posts["text"][:] if form != "parquet-bytes" else []
        assert set(ids) <= set(corpus[split]["text"])
        assert len(corpus[split]) == len(posts)
    by_text = {post["text"]: post for posts in corpus.values() for post in posts}
    for posts in expected.values():
        for post in posts:
            other = by_text[post["text"]]
            assert other["label"] == post["label"]
            assert other["images"][0].tobytes() == post["images"][0].tobytes()


def test_order_of_rows_does_not_matter(folder, load):
    corpus = load("posts", data_files=str(folder / "posts.csv"))
    rows = read_rows(folder / "posts.csv")
    shuffled = load("posts", data_files=str(write_rows(folder / "new.csv", rows[30:] + rows[:30])))
    for split in corpus:
        assert sorted(corpus[split]["id"]) == sorted(shuffled[split]["id"])


@pytest.mark.parametrize(
    "names", [("train", "dev", "test"), ("training-0", "valid", "testing"), ("data/train", "data/val", "data/test")]
)
def test_files_by_split(names, folder, load):
    rows = read_rows(folder / "posts.csv")
    for name, part in zip(names, (rows[:40], rows[40:50], rows[50:]), strict=True):
        write_rows(folder / f"{name}.csv", part)
    corpus = load("posts", data_dir=str(folder), image_dir=str(folder))
    assert [len(corpus[split]) for split in ("train", "validation", "test")] == [40, 10, 10]
    files = {"train": str(folder / f"{names[0]}.csv"), "test": [str(folder / f"{names[2]}.csv")]}
    corpus = mmsent.load_corpus("posts", data_files=files, image_dir=str(folder))
    assert {split: len(posts) for split, posts in corpus.items()} == {"train": 36, "validation": 4, "test": 10}
    whole = mmsent.load_corpus("posts", data_files=files, image_dir=str(folder), split_shares=[0.9, 0, 0.1])
    assert sorted(whole["train"]["id"]) == sorted([*corpus["train"]["id"], *corpus["validation"]["id"]])
    assert corpus["test"]["id"][:] == whole["test"]["id"][:]
    assert "no post is marked as validation" in " ".join(corpus_notes(corpus))


def test_ids_that_occur_in_two_files_get_the_name_of_the_file(tmp_path, load):
    for name in ("train", "test"):
        write_rows(
            tmp_path / f"{name}.csv", [{"id": str(i), "text": f"{name} {i}", "label": "ab"[i % 2]} for i in range(4)]
        )
    corpus = load("posts", data_dir=str(tmp_path))
    assert corpus["train"]["id"][:] == ["train-0", "train-1", "train-2", "train-3"]


def test_splits_of_a_column_and_shared_columns(tmp_path, load):
    rows = [
        {"ID": f"p{i}", "post": f"text {i}", "Fold": ["Train", "dev", "test"][i % 3], "stars": f"{i % 4}.0"}
        | {"target": "sea" if i % 2 else "", "caption": f"c{i}", "thread": f"{i // 2}"}
        for i in range(24)
    ]
    path = write_rows(tmp_path / "posts.csv", rows)
    corpus = load("posts", data_files=str(path), group_column="thread")
    assert corpus["validation"]["id"][:2] == ["p1", "p4"]
    post = corpus["validation"][0]
    assert (post["aspect"], post["caption"], post["group"], post["images"]) == ("sea", "c1", "0", [])
    assert corpus["train"].features["label"].names == ["0", "1", "2", "3"]
    assert "id = ID, group = thread, split = Fold" in corpus_notes(corpus)[0]
    drawn = load("posts", data_files=str(path), group_column="thread", split_column="none")
    for split in drawn.values():
        assert all(count == 2 for count in pd.Series(split["group"]).value_counts())


def test_posts_that_share_something_are_in_one_split(tmp_path, load):
    rows = [{"text": f"text {i}", "photo": f"{i}.png", "label": "ab"[i % 2]} for i in range(80)]
    for i in range(80):
        draw(tmp_path / f"{i}.png", i)
    for i in range(0, 40, 2):
        rows[i + 1]["text"] = f"@you TEXT {i}! http://a.b/c"
        (tmp_path / f"{i + 41}.png").write_bytes((tmp_path / f"{i + 40}.png").read_bytes())
    corpus = load("posts", data_files=str(write_rows(tmp_path / "posts.csv", rows)))
    split_of = {
        Path(image["path"]).name: split
        for split, posts in undecoded(corpus).items()
        for images in posts["images"]
        for image in images
    }
    assert all(split_of[f"{i}.png"] == split_of[f"{i + 1}.png"] for i in range(0, 80, 2))
    assert "40 groups, the largest of 2 posts" in corpus_notes(corpus)[-1]
    assert any(note.startswith("40 posts occur") for note in corpus_notes(corpus)) is False


def test_a_file_of_splits(folder, load):
    path = folder / "posts.csv"
    corpus = load("posts", data_files=str(path), split_seed=3)
    assert set(corpus["test"]["id"]) != set(load("posts", data_files=str(path))["test"]["id"])
    splits = {split: posts["id"][:] for split, posts in corpus.items()}
    write_split_file(folder / "splits.json", splits)
    assert read_split_file(folder / "splits.json") == splits
    rows = read_rows(path)
    gone = corpus["train"][0]["id"]
    (changed,) = [row for row in rows if row["tweet"] == corpus["train"][0]["text"]]
    changed["tweet"] = "another text"
    write_rows(path, rows)
    again = load("posts", data_files=str(path), splits=str(folder / "splits.json"))
    assert again["test"]["id"][:] == splits["test"]
    notes = "\n".join(corpus_notes(again))
    assert f"1 of 48 ids of train in {folder}/splits.json are not here: {gone}" in notes
    assert "1 posts are not in" in notes
    (folder / "splits.json").write_text((folder / "splits.json").read_text().replace(gone, "x"))
    with pytest.raises(ValueError, match="is not a complete file of splits, or was changed"):
        load("posts", data_files=str(path), splits=str(folder / "splits.json"))


def test_the_cache_follows_table_options_and_images(folder, load):
    def key(**options):
        return load("posts", data_dir=str(folder), **options)["train"].cache_files[0]["filename"]

    first = key()
    (folder / "notes.md").write_text("unrelated")
    assert key() == first
    assert key(split_seed=1) != first
    draw(folder / "photos" / "new.png", 0)
    assert (second := key()) != first
    (folder / "posts.csv").write_text((folder / "posts.csv").read_text() + "new,photos/new.png,neutral\n")
    assert key() != second


def test_missing_images_are_screened(folder, load):
    (folder / "photos" / "3.png").unlink()
    corpus = load("posts", data_dir=str(folder))
    assert "1 of 60 images do not exist (--on_bad_image decides what happens): photos/3.png" in corpus_notes(corpus)
    kept, report = screen_images(corpus, "skip")
    assert sum(map(len, report.values())) == 1
    assert sum(map(len, kept.values())) == 59


def test_several_images_and_a_clean_variant(folder, load):
    rows = [row | {"photo": f"{row['photo']}; photos/0.png"} for row in read_rows(folder / "posts.csv")[:30]]
    near = [row | {"split": "train"} for row in rows] + [rows[0] | {"tweet": "my DAY 0 with lines", "split": "test"}]
    path = write_rows(folder / "posts.csv", near)
    plain, clean = (load("posts", config, data_files=str(path)) for config in ("default", "default_clean"))
    assert [len(images) for images in plain["train"]["images"][:2]] == [2, 2]
    assert "none can be drawn: the split validation would be empty: 30 of the 30" in " ".join(corpus_notes(plain))
    assert len(clean["train"]) < len(plain["train"])
    assert "posts that leak were dropped from train" in corpus_notes(clean)[-1]


def test_audit_and_export_take_a_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["audit", str(folder / "posts.csv"), "--options", "text_column=tweet"])
    audit.main()
    assert "train and test: nothing" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["export", str(folder), "--output", str(tmp_path / "out")])
    export.main()
    exported = load_dataset(str(tmp_path / "out"))
    assert rows_hash(exported, COLUMNS) == rows_hash(mmsent.load_corpus("posts", data_dir=folder), COLUMNS)
    assert "posts" in (tmp_path / "out" / "README.md").read_text()


def test_class_names_of_parquet_are_kept(tmp_path, load):
    posts = mmsent.load_corpus("sample_posts", split="test").select(range(60)).rename_column("text", "tweet")
    posts.to_parquet(tmp_path / "all.parquet")
    corpus = load("posts", data_dir=str(tmp_path))
    assert corpus["train"].features["label"].names == ["negative", "neutral", "positive"]
    labels = dict(zip(posts["id"], posts["label"], strict=True))
    assert all(labels[post["id"]] == post["label"] for split in corpus.values() for post in split)
    assert isinstance(corpus["train"], Dataset)
