"""MVSA-Single: rows, missing posts, translations."""

import json
import logging

import pytest
from datasets import Value
from torch.utils.data import DataLoader

from mmsent.dataset_scripts import common_corpus
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report, undecoded
from mmsent.dataset_scripts.common_schema import LABELS, features
from mmsent.dataset_scripts.mvsa import mvsa
from mmsent.dataset_scripts.mvsa.mvsa import joint_label


def test_rows(release, posts, load, clmlf):
    loaded = load("mvsa_single", data_dir=str(release))
    assert loaded.num_rows == {"train": 5, "validation": 2, "test": 2}
    assert loaded["train"].features == features(text_encoding=Value("string"))
    for split, rows in loaded.items():
        assert rows["id"] == clmlf[split][: len(rows)]
        for row in undecoded(rows):
            _, text_label, image_label = posts[row["id"]]
            assert row["text"] == f"text of {row['id']}"
            assert row["images"] == [{"bytes": None, "path": str(release / "data" / f"{row['id']}.jpg")}]
            labels = [text_label, image_label, joint_label(text_label, image_label)]
            assert [LABELS[row[column]] for column in ("text_label", "image_label", "label")] == labels
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


@pytest.fixture
def incomplete(release, posts):
    """Return a folder and the ids of train: a text, an image and a label are missing, and all posts of validation."""
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
    assert warnings[0].startswith("mvsa_single, clmlf: 3609 of 3611 posts of train")
    assert warnings[0].endswith(": " + ", ".join(report["train"][:10]) + ", ...")
    assert "450 of 450 posts of validation" in warnings[1]


def test_report_survives_the_cache(incomplete, load, caplog):
    folder, _ = incomplete
    first = missing_report(load("mvsa_single", data_dir=str(folder)))
    caplog.clear()
    again = load("mvsa_single", data_dir=str(folder))
    assert not caplog.records  # The corpus was not built again.
    assert missing_report(again) == missing_report(again.filter(lambda row: row["label"] == 1)) == first
    assert missing_report(load("mvsa_single", data_dir=str(folder), download_mode="force_redownload")) == first


def test_nothing_missing(write_release, load, clmlf, monkeypatch, caplog):
    few = {"train": clmlf["train"][:2], "validation": clmlf["validation"][:1], "test": clmlf["test"][:1]}
    monkeypatch.setattr(mvsa, "read_splits", lambda folder: few)
    monkeypatch.setitem(mvsa.COUNTS, "mvsa_single", {"positive": 4, "neutral": 0, "negative": 0})
    folder = write_release({post_id: (b"", "positive", "positive") for ids in few.values() for post_id in ids})
    loaded = load("mvsa_single", data_dir=str(folder))
    assert missing_report(loaded) == {}
    assert not caplog.records
    assert {split: rows["id"][:] for split, rows in loaded.items()} == few


def test_posts_outside_of_the_split_are_ignored(write_release, posts, load, clmlf):
    listed = {post_id for ids in clmlf.values() for post_id in ids}
    outside = next(str(n) for n in range(1, 9999) if str(n) not in listed)
    folder = write_release(posts | {outside: (b"", "positive", "negative")})
    loaded = load("mvsa_single", data_dir=str(folder))
    assert sum(loaded.num_rows.values()) == 9
    assert all(outside not in ids for ids in missing_report(loaded).values())


def test_dataloader_workers(release, load, posts, monkeypatch):
    monkeypatch.setattr(common_corpus, "CHUNK_SIZE", 2)
    streamed = load("mvsa_single", data_dir=str(release), streaming=True, split="train")
    loader = DataLoader(streamed.select_columns(["id", "text"]), num_workers=2, batch_size=None)
    assert sorted(row["id"] for row in loader) == sorted(list(posts)[:5])


def test_captions_are_a_column(release, posts, load, tmp_path):
    first, second, *_ = posts
    path = tmp_path / "captions.csv"
    path.write_text(f"id,images,caption\n{first},{first}.jpg,a beach\n{second},{second}.jpg,\n")
    loaded = load("mvsa_single", data_dir=str(release), captions=str(path))
    assert loaded["train"]["caption"][:3] == ["a beach", None, None]
    assert corpus_notes(loaded)[-1] == "7 posts have no caption"
    path.write_text(f"id,images,caption\n{first},{first}.jpg,a street\n")  # The cache is not used.
    assert load("mvsa_single", data_dir=str(release), captions=str(path))["train"]["caption"][0] == "a street"
    path.write_text(f"id,images\n{first},{first}.jpg\n")
    with pytest.raises(ValueError, match="captions.csv has no column caption; its columns are id, images"):
        load("mvsa_single", data_dir=str(release), captions=str(path))


def test_translations_are_a_column(release, posts, load, tmp_path):
    first, second, *_ = posts
    path = tmp_path / "train_translation.json"
    path.write_text(json.dumps([{"id": first, "text_translation": "other words"}]))
    rows = load("mvsa_single", data_dir=str(release), translations=[str(path)])["train"]
    assert rows["text_translation"][:2] == ["other words", None]
    path.write_text(json.dumps([{"id": int(second), "text_translation": "changed"}]))  # The cache is not used.
    rows = load("mvsa_single", data_dir=str(release), translations=[str(path)])["train"]
    assert rows["text_translation"][:2] == [None, "changed"]
    assert "text_translation" not in load("mvsa_single", data_dir=str(release))["train"].features
