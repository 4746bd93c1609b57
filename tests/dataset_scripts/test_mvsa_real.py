"""The training and validation posts of a real copy of MVSA-Single."""

import itertools
from collections import Counter

import pytest
from datasets import load_dataset

from mmsent.dataset_scripts.common_corpus import missing_report


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def loaded(mvsa_single, cache_dir):
    return load_dataset("mvsa_single", data_dir=str(mvsa_single), cache_dir=cache_dir)


def test_sizes_and_labels(loaded, clmlf):
    assert loaded.num_rows == {"train": 3611, "validation": 450}
    assert missing_report(loaded) == {"test": clmlf["test"]}
    # The published sizes are 2,683 / 470 / 1,358 posts, of which 268 / 47 / 135 are in the test split.
    labels = Counter(loaded["train"]["label"]) + Counter(loaded["validation"]["label"])
    assert labels == {2: 2683 - 268, 1: 470 - 47, 0: 1358 - 135}


def test_texts(loaded):
    encodings = Counter(itertools.chain(*(rows["text_encoding"] for rows in loaded.values())))
    assert encodings == {"utf-8-sig": 3114, "gb18030": 947}
    texts = {i: text for rows in loaded.values() for i, text in zip(rows["id"], rows["text"], strict=True)}
    assert all(texts.values())
    assert texts["1000"].endswith("back in 2011. Can't …")
    assert texts["1013"].startswith("“@Dreenayz: ")
    assert not any("¡" in text for text in texts.values())  # Latin-1 would decode dots and quotes to it.


def test_random_config(loaded, mvsa_single, cache_dir):
    rows = load_dataset("mvsa_single", "random", data_dir=str(mvsa_single), cache_dir=cache_dir)
    assert set(rows) == {"train", "validation", "test"}
    assert sum(rows.num_rows.values()) == 4061
    assert sum(len(ids) for ids in missing_report(rows).values()) == 450


@pytest.mark.slow
def test_every_image_is_decoded(loaded):
    for rows in loaded.values():
        for images in rows.select_columns("images"):
            assert 0 < min(images["images"][0].size) <= 256
