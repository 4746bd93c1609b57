import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from mmsent.dataset_scripts.common_schema import LABELS, features
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.modeling.common_images import BadImageError


@pytest.fixture
def corpus(tmp_path):
    """A train split with a valid image, a valid and a truncated image, and no image; and an image that is a text."""
    good, truncated, text = (tmp_path / name for name in ("good.png", "truncated.jpg", "text.jpg"))
    Image.new("RGB", (30, 20)).save(good)
    Image.effect_noise((64, 64), 90).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:900])
    text.write_text("not found")
    images = {"train": [[good], [good, truncated], []], "validation": [[text]]}
    columns = features()
    return DatasetDict(
        {
            split: Dataset.from_list(
                [
                    {"id": str(row), "text": "", "images": [str(path) for path in paths], "aspect": None}
                    | {"label": LABELS[0], "text_label": None, "image_label": None}
                    for row, paths in enumerate(rows)
                ],
                features=columns,
            )
            for split, rows in images.items()
        }
    )


def names(posts):
    return [[image["path"].rpartition("/")[2] for image in images] for images in posts["images"]]


def test_error_names_every_file(corpus):
    with pytest.raises(BadImageError, match="2 images cannot be decoded") as error:
        screen_images(corpus, "error")
    message = str(error.value)
    assert "post 1: " in message
    assert "truncated.jpg" in message
    assert "text.jpg" in message
    assert "on_bad_image='skip'" in message


def test_skip_drops_the_post(corpus):
    screened, report = screen_images(corpus, "skip")
    assert names(screened["train"]) == [["good.png"], []]
    assert len(screened["validation"]) == 0
    assert {split: len(lines) for split, lines in report.items()} == {"train": 1, "validation": 1}


def test_missing_keeps_the_post_and_its_other_images(corpus):
    screened, report = screen_images(corpus, "missing")
    assert names(screened["train"]) == [["good.png"], ["good.png"], []]
    assert names(screened["validation"]) == [[]]
    assert "truncated.jpg" in report["train"][0]


def test_a_repaired_file_is_noticed(corpus, tmp_path):
    screen_images(corpus, "missing")
    for name in ("truncated.jpg", "text.jpg"):
        Image.new("RGB", (30, 20)).save(tmp_path / name)
    screened, report = screen_images(corpus, "error")
    assert report == {}
    assert names(screened["train"]) == [["good.png"], ["good.png", "truncated.jpg"], []]
