"""Random changes of the training posts."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmsent.modeling.common_images import BadImageError
from mmsent.training.augmentation import AugmentedPosts


class Rows(list):
    column_names = ["id", "text", "images", "text_translation"]


@pytest.fixture
def rows():
    gradient = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))  # dark on the left, bright on the right
    image = Image.fromarray(np.stack([gradient] * 3, -1))
    return Rows(
        [
            {"id": "1", "text": "good day", "images": [image], "text_translation": "fine day"},
            {"id": "2", "text": "bad day", "images": [], "text_translation": None},
        ]
    )


def read(rows, image_augmentation=(), text_augmentation=None, row=0, epochs=40) -> list[dict]:
    """Return a post as each epoch reads it."""
    posts = AugmentedPosts(rows, list(image_augmentation), text_augmentation, seed=0)
    assert len(posts) == 2
    versions = []
    for epoch in range(epochs):
        posts.set_epoch(epoch)
        versions.append(posts[row])
    return versions


def test_flip(rows):
    first_pixels = [np.asarray(post["images"][0])[0, 0, 0] for post in read(rows, ["flip"])]
    assert set(first_pixels) == {0, 236}
    assert 8 < first_pixels.count(0) < 32
    assert np.asarray(rows[0]["images"][0])[0, 0, 0] == 0  # the corpus itself does not change


def test_crop_and_erase_keep_the_size(rows):
    original = np.asarray(rows[0]["images"][0])
    cropped = [np.asarray(post["images"][0]) for post in read(rows, ["crop"], epochs=20)]
    assert {image.shape for image in cropped} == {original.shape}
    assert len({image.tobytes() for image in cropped}) > 5
    erased = [np.asarray(post["images"][0]) for post in read(rows, ["erase"])]
    black = [((image == 0).all(-1) & (original > 0).all(-1)).mean() for image in erased]
    assert 8 < sum(share == 0 for share in black) < 32
    assert 0 < max(black) < 0.4


def test_rand_augment(rows):
    original = np.asarray(rows[0]["images"][0])
    images = [np.asarray(post["images"][0]) for post in read(rows, ["rand_augment"], epochs=20)]
    assert {image.shape for image in images} == {original.shape}
    assert len({image.tobytes() for image in images}) > 10


def test_a_paraphrase_replaces_the_text_in_half_of_the_epochs(rows):
    texts = [post["text"] for post in read(rows, (), "text_translation", epochs=60)]
    assert set(texts) == {"good day", "fine day"}
    assert 15 < texts.count("good day") < 45
    without_paraphrase = read(rows, (), "text_translation", row=1)
    assert {post["text"] for post in without_paraphrase} == {"bad day"}


def test_the_images_of_a_post_change_independently(rows):
    rows[0]["images"] *= 8
    (post,) = read(rows, ["flip"], epochs=1)
    assert {np.asarray(image)[0, 0, 0] for image in post["images"]} == {0, 236}


def test_a_change_depends_only_on_seed_epoch_and_post(rows):
    def pixels(seed, epoch, row=0, read_before=()):
        posts = AugmentedPosts(rows, ["crop"], None, seed=seed)
        posts.set_epoch(epoch)
        for other in read_before:
            posts[other]
        return np.asarray(posts[row]["images"][0]).tobytes()

    rows[1]["images"] = list(rows[0]["images"])
    state = torch.get_rng_state()
    assert pixels(1, 2) == pixels(1, 2, read_before=(1, 0, 1))
    assert len({pixels(1, 2), pixels(2, 2), pixels(1, 3), pixels(1, 2, row=1)}) == 4
    assert torch.equal(torch.get_rng_state(), state)  # dropout's random numbers stay the same


def test_a_bad_image_leaves_the_random_state(rows):
    rows[0]["images"] = [{"bytes": b"damaged", "path": None}]
    state = torch.get_rng_state()
    with pytest.raises(BadImageError):
        AugmentedPosts(rows, ["flip"], None, seed=0)[0]
    assert torch.equal(torch.get_rng_state(), state)
