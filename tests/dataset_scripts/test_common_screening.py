"""Images that cannot be decoded."""

import pytest
from standins import draw, write_multi_zol

from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.modeling.common_images import BadImageError


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
