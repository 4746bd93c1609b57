"""Images that cannot be decoded."""

import hashlib
import shutil
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from standins import draw, write_multi_zol

from mmsent.dataset_scripts import common_screening
from mmsent.dataset_scripts.common_schema import features
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.modeling.common_images import BadImageError


@pytest.fixture
def decoded(tmp_path, monkeypatch) -> list[str]:
    """The images that were decoded, with an empty cache of remembered images in `tmp_path`."""
    decoded = []

    def load_image(image):
        decoded.append(Path((image or {}).get("path") or "").name)
        return original(image)

    original = common_screening.load_image
    monkeypatch.setattr(common_screening, "load_image", load_image)
    monkeypatch.setattr(common_screening, "cached_assets_path", lambda *_: tmp_path)
    return decoded


@pytest.fixture
def images(tmp_path):
    """Reviews of three samples each: one of two images of a train review is truncated, an image of dev is a text."""
    images = write_multi_zol(tmp_path / "zol", {"Train": 3, "Dev": 2}) / "img"
    (images / "Train_2_1.jpg").write_bytes((images / "Train_2_1.jpg").read_bytes()[:300])
    (images / "Dev_1_0.jpg").write_text("not found")
    return images


@pytest.fixture
def corpus(images, load):
    return load("multi_zol", data_dir=str(images.parent))


def names(posts) -> list[list[str]]:
    return [[image["path"].rpartition("/")[2] for image in images] for images in posts["images"]]


def test_error_names_every_file(corpus):
    with pytest.raises(BadImageError, match="6 images cannot be decoded") as error:
        screen_images(corpus, "error")
    for text in ("post train-7: ", "Train_2_1.jpg", "Dev_1_0.jpg", "on_bad_image='skip'"):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("policy", "train", "validation"),
    [("skip", [], [[]] * 3), ("missing", [["Train_2_0.jpg"]] * 3, [[]] * 6)],
)
def test_posts_or_images_are_dropped(corpus, policy, train, validation):
    screened, report = screen_images(corpus, policy)
    assert names(screened["train"]) == [[]] * 3 + [["Train_1_0.jpg"]] * 3 + train
    assert names(screened["validation"]) == validation
    assert {split: len(lines) for split, lines in report.items()} == {"train": 3, "validation": 3}
    assert "Train_2_1.jpg" in report["train"][0]


def test_a_repaired_file_is_noticed(corpus, images):
    screen_images(corpus, "missing")
    draw(images / "Train_2_1.jpg", 1)
    draw(images / "Dev_1_0.jpg", 2)
    screened, report = screen_images(corpus, "error")
    assert report == {}
    assert names(screened["train"])[-1] == ["Train_2_0.jpg", "Train_2_1.jpg"]


def test_good_images_are_decoded_once_and_bad_ones_again(corpus, decoded):
    first = screen_images(corpus, "missing")
    assert {"Train_1_0.jpg", "Train_2_0.jpg", "Train_2_1.jpg", "Dev_1_0.jpg"} == set(decoded)
    decoded.clear()
    second = screen_images(corpus, "missing")
    assert set(decoded) == {"Train_2_1.jpg", "Dev_1_0.jpg"}
    assert first[1] == second[1]
    assert names(first[0]["train"]) == names(second[0]["train"])


def test_a_file_that_breaks_later_is_noticed(corpus, images, decoded):
    """Its size and time are the same."""
    screen_images(corpus, "missing")
    path = images / "Train_2_0.jpg"
    shutil.copy2(path, images / "copy")
    path.write_bytes(bytes(path.stat().st_size))
    shutil.copystat(images / "copy", path)
    with pytest.raises(BadImageError, match=r"Train_2_0\.jpg"):
        screen_images(corpus, "error")


@pytest.mark.parametrize("change", ["rule", "pillow", "damaged cache"])
def test_images_are_decoded_again_by_another_decoder(change, corpus, decoded, tmp_path, monkeypatch):
    screen_images(corpus, "missing")
    decoded.clear()
    if change == "rule":
        (tmp_path / "common_images.py").write_text("another rule")
        monkeypatch.setattr(common_screening.common_images, "__file__", str(tmp_path / "common_images.py"))
    elif change == "pillow":
        monkeypatch.setattr(common_screening.PIL, "__version__", "0.1")
    else:
        next(tmp_path.glob("*.bin")).write_bytes(b"damaged")
    screen_images(corpus, "missing")
    assert {"Train_1_0.jpg", "Train_2_0.jpg"} <= set(decoded)


def test_a_cache_that_cannot_be_written_is_only_a_warning(corpus, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setattr(common_screening, "cached_assets_path", lambda *_: tmp_path / "file")
    screen_images(corpus, "missing")
    assert "The images are decoded again in the next run" in caplog.text


def test_hashes_of_files_are_given(corpus, images):
    hashes = {}
    screen_images(corpus, "missing", hashes)
    files = ("Train_1_0.jpg", "Train_2_0.jpg", "Train_2_1.jpg", "Dev_1_0.jpg")
    assert hashes == {str(images / name): hashlib.sha256((images / name).read_bytes()).hexdigest() for name in files}


def test_images_in_the_dataset_and_absent_ones(images, decoded):
    content = (images / "Train_1_0.jpg").read_bytes()
    pictures = [[{"path": None, "bytes": content}], [{"path": "x.jpg", "bytes": b"GIF"}], [None], []]
    row = {"id": list("abcd"), "text": ["t"] * 4, "aspect": [None] * 4, "images": pictures}
    posts = Dataset.from_dict(row | dict.fromkeys(["label", "text_label", "image_label"], [0] * 4), features())
    hashes = {}
    screened, report = screen_images(DatasetDict(train=posts), "skip", hashes)
    assert screened["train"]["id"][:] == ["a", "d"]
    assert report["train"][0].startswith("post b: x.jpg: cannot identify an image")
    assert hashes == {}
