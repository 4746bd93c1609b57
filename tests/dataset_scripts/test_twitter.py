"""Twitter-2015 and Twitter-2017."""

import json

import pytest
from standins import TWEETS, draw, write_twitter

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_twitter(tmp_path / "twitter2015")


def test_rows(release, load):
    loaded = load("twitter2015", data_dir=str(release))
    for split, file in {"train": "train", "validation": "dev", "test": "test"}.items():
        rows = list(undecoded(loaded[split].remove_columns("group")))
        assert rows == [
            {
                "id": f"{split}-{index}",
                "text": tweet,
                "images": [{"bytes": None, "path": f"{release}/images/{image}"}],
                "aspect": target,
                "label": int(label),
                **dict.fromkeys(["text_label", "image_label"]),
            }
            for index, label, image, tweet, target in TWEETS[file]
        ]
    assert loaded["train"].features["label"].names == ["negative", "neutral", "positive"]
    groups = loaded["train"]["group"]  # The rows of a tweet are one group.
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_substitution(release, load):
    posts = load("twitter2015", data_dir=str(release), substitute_target=True, split="train")
    assert posts["text"][0] == posts["text"][1] == "RT @ ltsChuckBass : Chuck Bass is everything # MCM"
    assert posts["aspect"][:2] == ["Chuck Bass", "# MCM"]


def test_captions(release, load, tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1860693.jpg": "a man in a suit", "4.jpg": "a beach"}))
    loaded = load("twitter2015", data_dir=str(release), captions=str(captions))
    assert loaded["train"]["caption"][:] == ["a man in a suit", "a man in a suit", None, None]
    assert loaded["validation"]["caption"][:] == ["a beach"]
    assert corpus_notes(loaded) == ["3 images have no caption"]
    captions.write_text(json.dumps({"1860693.jpg": "another one"}))  # The cache is not used.
    assert load("twitter2015", data_dir=str(release), captions=str(captions))["train"]["caption"][0] == "another one"


@pytest.mark.parametrize("place", ["images", "twitter2015_images", "../twitter2015_images", "../anywhere"])
def test_places_of_the_images(release, load, place):
    folder = release / place
    (release / "images").rename(folder)
    options = {"image_dir": str(folder)} if place == "../anywhere" else {}
    posts = load("twitter2015", data_dir=str(release), split="train", **options)
    assert posts[0]["images"][0].size == (24, 18)


def test_images_that_are_added_later(release, load):
    """The corpus is built again when the folder of images appears, and when an image is added."""
    away = (release / "images").rename(release / "elsewhere")
    loaded = load("twitter2015", data_dir=str(release))
    assert loaded["train"][0]["images"] == []
    assert "all posts are without their images, 5 in number" in corpus_notes(loaded)[0]
    away.rename(release / "images")
    (release / "images" / "3.jpg").unlink()
    loaded = load("twitter2015", data_dir=str(release))
    assert corpus_notes(loaded) == [f"1 of 5 images are not in {release}/images: 3.jpg"]
    assert loaded["train"][0]["images"][0].size == (24, 18)
    with pytest.raises(FileNotFoundError, match=r"3\.jpg"):
        loaded["train"][3]
    draw(release / "images" / "3.jpg", 1)
    assert corpus_notes(load("twitter2015", data_dir=str(release))) == []


REAL = {  # negative, neutral, positive, as published in the papers
    ("twitter2015", "train"): [368, 1883, 928],
    ("twitter2015", "validation"): [149, 670, 303],
    ("twitter2017", "train"): [416, 1638, 1508],
    ("twitter2017", "validation"): [144, 517, 515],
}


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_real_copy(name, shared_data, load):
    """Real copies have train and dev, without images."""
    loaded = load(name, data_dir=str(shared_data(name)))
    for split in ("train", "validation"):
        labels = list(loaded[split]["label"])
        assert [labels.count(label) for label in range(3)] == REAL[name, split]
    assert loaded["train"][0]["images"] == []
    assert all("$T$" in text for text in loaded["train"]["text"])
    assert not set(loaded["train"]["group"]) & set(loaded["validation"]["group"])
