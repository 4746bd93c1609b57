import itertools
import json
import logging
import os
from collections import Counter
from pathlib import Path

import pytest
from datasets import Image, List, Value, load_dataset_builder
from torch.utils.data import DataLoader

from mmsent.dataset_scripts import common_corpus as corpus
from mmsent.dataset_scripts import common_files as files
from mmsent.dataset_scripts.common_corpus import features, missing_report, read_splits
from mmsent.dataset_scripts.mvsa import mvsa
from mmsent.dataset_scripts.mvsa.make_random_split import random_split
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS, joint_label

NAMES = ["negative", "neutral", "positive"]


def rows_of(split):
    """Rows with their images as paths."""
    return list(split.cast_column("images", List(Image(decode=False))))


def test_label_rule():
    expected = {
        frozenset(["positive"]): "positive",
        frozenset(["neutral"]): "neutral",
        frozenset(["negative"]): "negative",
        frozenset(["positive", "neutral"]): "positive",
        frozenset(["negative", "neutral"]): "negative",
        frozenset(["positive", "negative"]): None,
    }
    for text, image in itertools.product(NAMES, NAMES):
        assert joint_label(text, image) == expected[frozenset([text, image])]


def test_rows(release, posts, load, clmlf):
    loaded = load("mvsa_single", data_dir=str(release))
    assert loaded.num_rows == {"train": 5, "validation": 2, "test": 2}
    assert loaded["train"].features == features(text_encoding=Value("string"))
    for split, rows in loaded.items():
        assert rows["id"] == clmlf[split][: len(rows)]
        for row in rows_of(rows):
            _, text_label, image_label = posts[row["id"]]
            assert row["text"] == f"text of {row['id']}"
            assert row["images"] == [{"bytes": None, "path": str(release / "data" / f"{row['id']}.jpg")}]
            assert row["aspect"] is None
            assert NAMES[row["text_label"]] == text_label
            assert NAMES[row["image_label"]] == image_label
            assert NAMES[row["label"]] == joint_label(text_label, image_label)
    assert loaded["train"][0]["images"][0].size == (8, 6)


def test_texts_of_all_encodings(write_release, posts, load):
    texts = {
        "  spaces and lines \r\n\n": "spaces and lines",
        "": "",
        "\ufeffa byte order mark": "a byte order mark",
        "naïve café 😀": "naïve café 😀",
    }
    raw = [text.encode() for text in texts] + [b"at the caf\xe9"]
    ids = list(posts)[:5]
    folder = write_release({i: (text, "neutral", "neutral") for i, text in zip(ids, raw, strict=True)})
    rows = load("mvsa_single", data_dir=str(folder), split="train")
    assert rows["text"][:] == [*texts.values(), "at the café"]


@pytest.mark.parametrize(("bom", "end"), [("", "\n"), ("", "\r\n"), ("\ufeff", "\n"), ("\ufeff", "\r\n")])
def test_label_file_of_any_editor(write_release, posts, load, bom, end):
    folder = write_release(posts, header=f"{bom}ID\ttext,image", end=end)
    with (folder / "labelResultAll.txt").open("a") as file:
        file.write(end)
    assert load("mvsa_single", data_dir=str(folder), split="train")["id"] == list(posts)[:5]


# What is missing


@pytest.fixture
def incomplete(release, posts):
    """Train lacks a text, a picture, a label row, and validation all its posts. -> folder, ids of train."""
    ids = list(posts)
    (release / "data" / f"{ids[0]}.txt").unlink()
    (release / "data" / f"{ids[1]}.jpg").unlink()
    labels = release / "labelResultAll.txt"
    rows = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join(row for row in rows if not row.startswith(f"{ids[2]}\t")))
    for post_id in ids[5:7]:
        (release / "data" / f"{post_id}.jpg").unlink()
    return release, ids[:5]


def test_missing_posts_are_left_out_and_reported(incomplete, load, caplog, clmlf):
    folder, ids = incomplete
    loaded = load("mvsa_single", data_dir=str(folder))
    assert set(loaded) == {"train", "test"}
    assert loaded["train"]["id"] == ids[3:]
    report = missing_report(loaded)
    assert report["train"] == ids[:3] + clmlf["train"][5:]
    assert report["validation"] == clmlf["validation"]
    assert report["test"] == clmlf["test"][2:]

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3
    assert warnings[0].startswith("mvsa_single")
    assert "train: 3609 of 3611 posts" in warnings[0]
    assert warnings[0].endswith(": " + ", ".join(report["train"][:10]) + ", ...")
    assert "validation: 450 of 450 posts" in warnings[1]


def test_report_survives_the_cache(incomplete, load, caplog):
    folder, _ = incomplete
    first = missing_report(load("mvsa_single", data_dir=str(folder)))
    caplog.clear()
    again = load("mvsa_single", data_dir=str(folder))
    assert not caplog.records  # nothing was built
    assert missing_report(again) == first
    assert "Left out of train: 3609 of 3611" in again["train"].info.description
    assert missing_report(again.filter(lambda row: row["label"] == 1)) == first
    rebuilt = load("mvsa_single", data_dir=str(folder), download_mode="force_redownload")
    assert missing_report(rebuilt) == first
    assert rebuilt["train"].info.description == again["train"].info.description
    assert missing_report(load("mvsa_single", data_dir=str(folder), streaming=True)) == first


def test_nothing_missing(write_release, load, clmlf, monkeypatch, caplog):
    few = {"train": clmlf["train"][:2], "validation": clmlf["validation"][:1], "test": clmlf["test"][:1]}
    monkeypatch.setattr(mvsa, "read_splits", lambda folder: few)
    monkeypatch.setitem(mvsa.COUNTS, "mvsa_single", {"positive": 2, "neutral": 1, "negative": 1})
    labels = ["positive", "positive", "neutral", "negative"]
    ids = [post_id for ids in few.values() for post_id in ids]
    folder = write_release({i: (b"", label, label) for i, label in zip(ids, labels, strict=True)})
    loaded = load("mvsa_single", data_dir=str(folder))
    assert missing_report(loaded) == {}
    assert not caplog.records
    assert {split: rows["id"][:] for split, rows in loaded.items()} == few


def test_ten_ids_and_no_more_are_not_cut_short(write_release, load, clmlf, caplog):
    folder = write_release(dict.fromkeys(clmlf["validation"][10:], (b"", "neutral", "neutral")))
    load("mvsa_single", data_dir=str(folder))
    warning = next(record.getMessage() for record in caplog.records if "validation" in record.getMessage())
    assert warning.endswith(": " + ", ".join(clmlf["validation"][:10]))


def test_posts_outside_of_the_split_are_ignored(write_release, posts, load, clmlf):
    listed = {post_id for ids in clmlf.values() for post_id in ids}
    outside = next(str(n) for n in range(1, 9999) if str(n) not in listed)
    folder = write_release(posts | {outside: (b"", "positive", "negative")})
    loaded = load("mvsa_single", data_dir=str(folder))
    assert sum(loaded.num_rows.values()) == 9
    assert all(outside not in ids for ids in missing_report(loaded).values())


# Ways of loading


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(corpus, "CHUNK", 2)


@pytest.mark.usefixtures("small_chunks")
def test_streaming(release, load):
    built = load("mvsa_single", data_dir=str(release))
    streamed = load("mvsa_single", data_dir=str(release), streaming=True)
    assert set(streamed) == set(built)
    assert streamed["train"].num_shards == 3
    for split in built:
        assert rows_of(streamed[split]) == rows_of(built[split])
    assert next(iter(streamed["train"]))["images"][0].size == (8, 6)


@pytest.mark.usefixtures("small_chunks")
def test_num_proc(release, load, tmp_path):
    one = load("mvsa_single", data_dir=str(release))
    two = load("mvsa_single", data_dir=str(release), num_proc=2, download_mode="force_redownload")
    assert len(two["train"].cache_files) == 2  # it was built by two processes
    assert missing_report(two) == missing_report(one)
    for split in one:
        assert rows_of(two[split]) == rows_of(one[split])


@pytest.mark.usefixtures("small_chunks")
def test_dataloader_workers(release, load, posts):
    streamed = load("mvsa_single", data_dir=str(release), streaming=True, split="train")
    loader = DataLoader(streamed.select_columns(["id", "text"]), num_workers=2, batch_size=None)
    assert sorted(row["id"] for row in loader) == sorted(list(posts)[:5])


def test_files_are_listed_once_and_texts_read_once(release, monkeypatch, tmp_path):
    builder = load_dataset_builder("mvsa_single", data_dir=str(release), cache_dir=str(tmp_path / "cache"))
    seen = Counter()

    def count(owner, name):
        real = getattr(owner, name)

        def counting(path, *args, **kwargs):
            if Path(path).is_relative_to(release / "data"):
                seen[name] += 1
            return real(path, *args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(os, "stat")
    count(files.os, "scandir")  # for streaming, datasets gives the module an `os` of its own
    count(mvsa.Path, "read_bytes")
    splits = builder._split_generators(None)
    assert seen == {"scandir": 1, "stat": 2}  # the folder itself
    assert len(list(builder._generate_examples(**splits[0].gen_kwargs))) == 5
    assert seen["read_bytes"] == 5


# Split files


@pytest.mark.parametrize(("scheme", "sizes"), [("clmlf", [3611, 450, 450]), ("random", [3609, 451, 451])])
def test_split_files(scheme, sizes, clmlf):
    splits = read_splits(SPLITS / "mvsa_single" / scheme)
    assert [len(ids) for ids in splits.values()] == sizes
    ids = [post_id for ids in splits.values() for post_id in ids]
    assert len(set(ids)) == 4511
    assert set(ids) == {post_id for ids in clmlf.values() for post_id in ids}


def test_random_split_is_the_committed_one(clmlf):
    ids = [post_id for ids in clmlf.values() for post_id in ids]
    assert random_split(reversed(ids)) == read_splits(SPLITS / "mvsa_single" / "random")


def test_random_config(release, load, posts):
    splits = read_splits(SPLITS / "mvsa_single" / "random")
    loaded = load("mvsa_single", "random", data_dir=str(release))
    for split, rows in loaded.items():
        assert rows["id"] == [post_id for post_id in splits[split] if post_id in posts]
    assert sum(loaded.num_rows.values()) == 9


# Back-translated texts


def test_translations_are_a_column(release, posts, load, tmp_path):
    first, second, *_ = posts
    path = tmp_path / "train_translation.json"
    path.write_text(json.dumps([{"id": first, "text_translation": "other words"}]))
    rows = load("mvsa_single", data_dir=str(release), translations=[str(path)])["train"]
    assert rows["text_translation"][:2] == ["other words", None]
    path.write_text(json.dumps([{"id": int(second), "text_translation": "changed"}]))  # never from a stale cache
    rows = load("mvsa_single", data_dir=str(release), translations=[str(path)])["train"]
    assert rows["text_translation"][:2] == [None, "changed"]
    assert "text_translation" not in load("mvsa_single", data_dir=str(release))["train"].features


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "are a JSON list"), ("[", "no JSON"), ('[{"id": 1}]', "are a")]
)
def test_bad_translations(release, load, tmp_path, content, message):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match=rf"t.json: .*{message}|t.json: {message}"):
        load("mvsa_single", data_dir=str(release), translations=[str(tmp_path / "t.json")])
    with pytest.raises(FileNotFoundError, match="translations=.*nowhere does not exist"):
        load("mvsa_single", data_dir=str(release), translations=["nowhere"])
