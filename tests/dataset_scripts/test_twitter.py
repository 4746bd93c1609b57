"""Twitter-2015 and Twitter-2017."""

import json

import pytest
from standins import TWEETS, draw, write_twitter

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_twitter(tmp_path / "twitter2015")


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
@pytest.mark.parametrize(("end", "bom"), [("\n", False), ("\r\n", True)])
@pytest.mark.parametrize("how", [{}, {"streaming": True}, {"num_proc": 2}])
def test_rows(tmp_path, load, name, end, bom, how):
    folder = write_twitter(tmp_path / name, end, bom)
    loaded = load(name, data_dir=str(folder), **how)
    for split, file in {"train": "train", "validation": "dev", "test": "test"}.items():
        rows = list(undecoded(loaded[split]))
        assert len(rows) == len(TWEETS[file])
        for row, (index, label, image, tweet, target) in zip(rows, TWEETS[file], strict=True):
            assert (row["id"], row["text"], row["aspect"]) == (f"{split}-{index}", tweet, target)
            assert row["label"] == int(label)
            assert [entry["path"] for entry in row["images"]] == [f"{folder}/images/{image}"]
            assert (row["text_label"], row["image_label"]) == (None, None)
            assert "caption" not in row
    assert loaded["train"].features["label"].names == ["negative", "neutral", "positive"]


def test_the_rows_of_a_tweet_are_one_group(release, load):
    groups = load("twitter2015", data_dir=str(release), split="train")["group"]
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "captions.json: this is not JSON"),
        ("[1]", "captions are a JSON object"),
        ('{"a.jpg": 1}', "captions are a JSON object"),
        ('{"a.jpg": "x", "b.jpg": "y", "a.jpg": "z"}', "two entries for a.jpg; remove one"),
    ],
)
def test_bad_captions(release, load, tmp_path, content, message):
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load("twitter2015", data_dir=str(release), captions=str(tmp_path / "captions.json"))


@pytest.mark.parametrize("option", ["captions", "image_dir"])
def test_absent_option(release, load, tmp_path, option):
    with pytest.raises(FileNotFoundError, match=f"{option}=.*nowhere does not exist"):
        load("twitter2015", data_dir=str(release), **{option: str(tmp_path / "nowhere")})


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


def test_clean_drops_train_rows_of_tweets_in_test(release, load):
    test = release / "test.tsv"
    test.write_text(test.read_text() + "3\t1\t1860693.jpg\tRT @ ltsChuckBass : Chuck Bass is $T$ # MCM\teverything\n")
    posts = load("twitter2015", "official_clean", data_dir=str(release))
    assert posts["train"]["id"] == ["train-3", "train-4"]
    assert posts["test"].num_rows == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("9\t1\t3.jpg\tno target here\tOslo", r"the tweet has no \$T\$"),
        ("9\t1\t3.jpg\t$T$ is nice", "4 columns instead of 5"),
        ("9\t1\t3.jpg\t$T$\tis\tnice", "6 columns instead of 5"),
        ("9\t-1\t3.jpg\t$T$\tOslo", "label '-1' is not 0 .negative., 1 .neutral. or 2 .positive."),
        ("9\tpositive\t3.jpg\t$T$\tOslo", "label 'positive' is not 0"),
        ("1\t1\t3.jpg\t$T$\tOslo", "an earlier row has the index 1 too"),
        ("9\t1\t../../etc/passwd\t$T$\tOslo", "'../../etc/passwd' is not a bare file name"),
        ("9\t1\t/etc/passwd\t$T$\tOslo", "is not a bare file name"),
        ("9\t1\t\t$T$\tOslo", "'' is not a bare file name"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_bad_row(release, load, row, message, streaming):
    with (release / "dev.tsv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ValueError, match=message) as error:
        load("twitter2015", data_dir=str(release), streaming=streaming)
    assert str(error.value).startswith(f"{release}/dev.tsv, line 3: ")


def test_a_file_is_absent(release, load):
    (release / "test.tsv").unlink()
    loaded = load("twitter2015", data_dir=str(release))
    assert set(loaded) == {"train", "validation"}
    assert corpus_notes(loaded) == ["data_dir has no test.tsv: there is no test split"]


# Real copies have train and dev, without images.

REAL = {  # negative, neutral, positive, as published in the papers
    ("twitter2015", "train"): [368, 1883, 928],
    ("twitter2015", "validation"): [149, 670, 303],
    ("twitter2017", "train"): [416, 1638, 1508],
    ("twitter2017", "validation"): [144, 517, 515],
}


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_real_copy(name, shared_data, load):
    loaded = load(name, data_dir=str(shared_data(name)))
    for split in ("train", "validation"):
        labels = list(loaded[split]["label"])
        assert [labels.count(label) for label in range(3)] == REAL[name, split]
    assert loaded["train"][0]["images"] == []
    assert all("$T$" in text for text in loaded["train"]["text"])
    assert not set(loaded["train"]["group"]) & set(loaded["validation"]["group"])
