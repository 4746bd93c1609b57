"""Stages of training, and what only training does to a post."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from transformers import TrainerCallback

from arguments import RunArguments
from trainer import AugmentedPosts, MultimodalTrainer


@pytest.fixture
def train(tmp_path, backbones):
    """Trains six posts for four epochs of two steps; returns which parts changed in each epoch."""

    def train(**arguments):
        processor, model = tiny.build("comn", "transformers", backbones)
        batch = processor(**tiny.posts())
        rows = [{name: value[row] for name, value in batch.items()} | {"labels": row % 3} for row in range(6)]
        defaults = {
            "num_train_epochs": 4,
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
        }
        defaults |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(output_dir=str(tmp_path), **defaults | arguments)
        trainer = MultimodalTrainer(model, args, train_dataset=rows, eval_dataset=rows)
        changed, state = [], {}

        class Watch(TrainerCallback):
            def on_epoch_begin(self, *_, **__):
                state.update({name: value.clone() for name, value in model.state_dict().items()})

            def on_epoch_end(self, *_, **__):
                names = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
                changed.append({"text" if "text_encoder" in name else "rest" for name in names})

        trainer.add_callback(Watch)
        trainer.train()
        return changed

    return train


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [{"text", "rest"}] * 4),
        ({"text_from_epoch": 2}, [{"rest"}] * 2 + [{"text", "rest"}] * 2),  # CLMLF
        ({"text_from_epoch": 2, "rest_until_epoch": 2}, [{"rest"}] * 2 + [{"text"}] * 2),  # MDSE's code
        ({"rest_until_epoch": 1}, [{"text", "rest"}] + [{"text"}] * 3),
    ],
)
def test_stages(train, arguments, expected, schedule):
    assert train(lr_scheduler_type=schedule, **arguments) == expected


def test_the_text_encoder_has_a_rate_of_its_own(train):
    assert train(text_learning_rate=0.0) == [{"rest"}] * 4
    assert train(text_learning_rate=1e-3, learning_rate=0.0, text_from_epoch=1) == [set()] + [{"text"}] * 3


def test_stages_need_a_schedule_of_the_step(train):
    with pytest.raises(ValueError, match="lr_scheduler_type=.*cannot be combined with stages"):
        train(text_from_epoch=1, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch")


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


def test_flip(rows):
    torch.manual_seed(0)
    posts = AugmentedPosts(rows, ["flip"], None)
    assert len(posts) == 2
    first = [np.asarray(posts[0]["images"][0])[0, 0, 0] for _ in range(40)]
    assert set(first) == {0, 236}
    assert 8 < first.count(0) < 32
    assert np.asarray(rows[0]["images"][0])[0, 0, 0] == 0  # the corpus itself is left alone


def test_crop_and_erase_keep_the_size(rows):
    torch.manual_seed(0)
    original = np.asarray(rows[0]["images"][0])
    cropped = [np.asarray(AugmentedPosts(rows, ["crop"], None)[0]["images"][0]) for _ in range(20)]
    assert {image.shape for image in cropped} == {original.shape}
    assert len({image.tobytes() for image in cropped}) > 5
    erased = [np.asarray(AugmentedPosts(rows, ["erase"], None)[0]["images"][0]) for _ in range(40)]
    black = [((image == 0).all(-1) & (original > 0).all(-1)).mean() for image in erased]
    assert 8 < sum(share == 0 for share in black) < 32
    assert 0 < max(black) < 0.4


def test_other_words_stand_in_every_second_time(rows):
    torch.manual_seed(0)
    posts = AugmentedPosts(rows, [], "text_translation")
    texts = [posts[0]["text"] for _ in range(60)]
    assert set(texts) == {"good day", "fine day"}
    assert 15 < texts.count("good day") < 45
    assert {posts[1]["text"] for _ in range(10)} == {"bad day"}  # it has none
    with pytest.raises(ValueError, match="text_augmentation=synonyms: the corpus has no such column, only id, text"):
        AugmentedPosts(rows, [], "synonyms")


def test_several_pictures_are_changed_each_for_itself(rows):
    torch.manual_seed(1)
    rows[0]["images"] *= 8
    images = AugmentedPosts(rows, ["flip"], None)[0]["images"]
    assert {np.asarray(image)[0, 0, 0] for image in images} == {0, 236}
