import itertools

import datasets
import pytest
from PIL import Image

import dataset_scripts  # noqa: F401  (makes the names of the corpora known)
from dataset_scripts.corpus import read_splits
from dataset_scripts.mvsa.mvsa import SPLITS


@pytest.fixture(autouse=True, scope="session")
def no_progress_bars():
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def clmlf():
    return read_splits(SPLITS / "mvsa_single" / "clmlf")


@pytest.fixture
def write_release(tmp_path):
    """Writes a release laid out as MVSA-Single: {id: (text bytes, text label, image label)} -> its folder."""

    def write(posts, name="MVSA_Single", header="ID\ttext,image", end="\r\n"):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        rows = [header]
        for number, (post_id, (text, text_label, image_label)) in enumerate(posts.items()):
            rows.append(f"{post_id}\t{text_label},{image_label}")
            (folder / "data" / f"{post_id}.txt").write_bytes(text)
            Image.new("RGB", (8, 6), (number * 20 % 256, 0, 0)).save(folder / "data" / f"{post_id}.jpg")
        (folder / "labelResultAll.txt").write_bytes("".join(row + end for row in rows).encode())
        return folder

    return write


@pytest.fixture
def posts(clmlf):
    """Five posts of train, two of validation, two of test, with real ids."""
    text_labels = ["positive", "neutral", "negative", "neutral", "negative"]
    image_labels = ["positive", "positive", "neutral", "neutral", "negative"]
    ids = clmlf["train"][:5] + clmlf["validation"][:2] + clmlf["test"][:2]
    pairs = itertools.cycle(zip(text_labels, image_labels, strict=True))
    return {i: (f"text of {i}\n".encode(), *pair) for i, pair in zip(ids, pairs, strict=False)}


@pytest.fixture
def release(write_release, posts):
    return write_release(posts)


@pytest.fixture
def load(tmp_path):
    """`load_dataset` with a cache of its own."""

    def load(*args, **kwargs):
        return datasets.load_dataset(*args, cache_dir=str(tmp_path / "cache"), **kwargs)

    return load
