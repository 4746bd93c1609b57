"""Batches of texts of similar length."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.length_grouping import text_lengths


def posts_of(lengths: list[int]) -> Dataset:
    return Dataset.from_dict({"text": ["a" * length for length in lengths]})


@pytest.fixture
def sampler(make_trainer):
    """Return a function that gives the sampler with which a trainer reads posts of these lengths."""

    def sampler(lengths, strategy="group_by_length", **arguments):
        trainer = make_trainer(train_sampling_strategy=strategy, **arguments)
        trainer.train_dataset = posts_of(lengths)
        return trainer.get_train_dataloader().get_sampler()

    return sampler


def test_length_groups_pad_less(sampler):
    lengths = np.random.default_rng(0).integers(1, 60, 512).tolist()

    def padding(strategy):
        order = list(sampler(lengths, strategy, per_device_train_batch_size=8))
        assert sorted(order) == list(range(512))
        batches = [[lengths[row] for row in order[start : start + 8]] for start in range(0, 512, 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches) / sum(lengths)

    assert padding("random") > 0.5
    assert padding("group_by_length") < 0.1


def test_accumulated_batches_have_the_same_order(sampler):
    lengths = [7 * n % 50 for n in range(96)]
    whole = sampler(lengths, per_device_train_batch_size=8)
    parts = sampler(lengths, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    first_epoch = list(whole)
    assert list(parts) == first_epoch
    whole.set_epoch(1)
    assert list(whole) != first_epoch


def test_lengths_of_every_kind_of_posts():
    posts = posts_of([8, 7])
    assert text_lengths(posts) == [8, 7]
    assert text_lengths(AugmentedPosts(posts, ["flip"], None, seed=0)) == [8, 7]
    assert text_lengths(torch.utils.data.Subset(posts, [1])) == [7]
    assert text_lengths([{"attention_mask": torch.tensor([1, 1, 0])}]) == [2]


def test_predictions_have_the_order_of_the_posts(make_trainer):
    plain = make_trainer(per_device_eval_batch_size=2)
    grouped = make_trainer(per_device_eval_batch_size=2, train_sampling_strategy="group_by_length")
    posts = plain.eval_dataset
    lengths = text_lengths(posts)
    order = list(grouped.get_eval_dataloader().get_sampler())
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)
    assert order != list(range(6))
    one, other = plain.predict(posts), grouped.predict(posts)
    np.testing.assert_allclose(other.predictions, one.predictions, atol=1e-5)
    assert other.label_ids.tolist() == one.label_ids.tolist() == [0, 1, 2, 0, 1, 2]
    assert other.metrics["test_loss"] == pytest.approx(one.metrics["test_loss"], abs=1e-5)
