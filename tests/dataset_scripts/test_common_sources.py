"""Datasets with other column names get the shared ones; those that have them stay as they are."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDatasetDict, List, Value
from standins import draw, write_posts

from mmsent.dataset_scripts.common_corpus import corpus_notes
from mmsent.dataset_scripts.common_schema import features
from mmsent.dataset_scripts.common_sources import load_source
from mmsent.dataset_scripts.posts.mapping import to_posts

COUNT = 40


@pytest.fixture
def paths(tmp_path):
    names = [str(tmp_path / "pictures" / f"{i}.png") for i in range(COUNT)]
    for i in range(COUNT):
        draw(tmp_path / "pictures" / f"{i}.png", i)
    return names


def make(paths, label="name", images="one", count=COUNT) -> Dataset:
    """Return posts as others name and type their columns."""
    labels = {"name": Value("string"), "number": Value("int64"), "class": ClassLabel(names=["bad", "good"])}
    rows = {"tweet": [f"text {i}" for i in range(count)]}
    rows["sentiment"] = [["bad", "good"][i % 2] if label == "name" else i % 2 for i in range(count)]
    types = {"tweet": Value("string"), "sentiment": labels[label]}
    if images == "two":
        rows |= {"photo1": paths[:count], "photo2": paths[:count]}
        types |= {"photo1": Image(), "photo2": Image()}
    elif images == "list":
        rows["photos"] = [[path] for path in paths[:count]]
        types["photos"] = List(Image())
    else:
        rows["photo"] = paths[:count]
        types["photo"] = Image()
    return Dataset.from_dict(rows, features=Features(types))


@pytest.mark.parametrize(
    ("label", "images", "names", "number"),
    [("name", "one", ["bad", "good"], 1), ("number", "two", ["0", "1"], 2), ("class", "list", ["bad", "good"], 1)],
)
def test_a_saved_dataset_is_mapped_and_split(label, images, names, number, paths, tmp_path):
    make(paths, label, images).save_to_disk(tmp_path / "saved")
    corpus = load_source(str(tmp_path / "saved"))
    assert {split: len(posts) for split, posts in corpus.items()} == {"train": 32, "validation": 4, "test": 4}
    assert corpus["train"].features == features(names)
    for posts in corpus.values():
        for post in posts:
            assert post["label"] == int(post["text"].split()[1]) % 2
            assert [image.size for image in post["images"]] == [(24, 18)] * number
    assert "the columns are read as text = tweet" in corpus_notes(corpus)[0]


def test_given_splits_are_kept(paths):
    parts = DatasetDict({"train": make(paths), "dev": make(paths, count=6), "other": make(paths, count=2)})
    corpus = to_posts(parts)
    assert {split: len(posts) for split, posts in corpus.items()} == {"train": COUNT, "validation": 6}


def test_a_stream_needs_splits_and_classes(paths):
    parts = IterableDatasetDict({name: make(paths, "class").to_iterable_dataset() for name in ("train", "test")})
    post = next(iter(to_posts(parts)["test"]))
    assert (post["text"], post["label"], post["images"][0].size) == ("text 0", 0, (24, 18))
    named = IterableDatasetDict({name: make(paths).to_iterable_dataset() for name in ("train", "test")})
    assert next(iter(to_posts(named, label_names=["good", "bad"])["test"]))["label"] == 1
    with pytest.raises(ValueError, match="the classes of a stream are not known; give them, as label_names"):
        to_posts(named)
    with pytest.raises(ValueError, match="a stream cannot be split: it has train; load it without"):
        to_posts(IterableDatasetDict({"train": parts["train"]}))


def test_unknown_options_and_sources(paths, tmp_path):
    with pytest.raises(ValueError, match="there is no option colour for posts"):
        to_posts(make(paths), colour=1)
    with pytest.raises(ValueError, match="dataset 'mvsa' is not one of .*and not a table .*or a Hub id either"):
        load_source("mvsa")
    with pytest.raises(FileNotFoundError, match="there is no file .*nowhere.csv"):
        load_source(str(tmp_path / "nowhere.csv"))


def test_a_table_a_folder_and_a_parquet_folder(tmp_path):
    folder = write_posts(tmp_path / "mine")
    corpora = [load_source(str(path)) for path in (folder / "posts.csv", folder)]
    assert corpora[0]["test"]["id"][:] == corpora[1]["test"]["id"][:]
    (tmp_path / "shared").mkdir()
    corpora[0]["train"].to_parquet(tmp_path / "shared" / "train.parquet")
    assert load_source(str(tmp_path / "shared"))["train"]["id"][:] == corpora[0]["train"]["id"][:]
    assert set(load_source(str(tmp_path / "shared"), allow_absolute_paths=True)) == {"train", "validation", "test"}
