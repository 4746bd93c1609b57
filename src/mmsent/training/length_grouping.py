"""Batches of texts of similar length, which need less padding."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset
from transformers.trainer_pt_utils import LengthGroupedSampler


class LengthGroups(LengthGroupedSampler):
    """transformers' sampler, with an order that depends on the seed and the epoch alone, so that training can resume.

    Args:
        batch_size: Posts in one step of all processes together. The order is then the same for any number of
            processes and of accumulated batches.
        lengths: Length of each post's text.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        super().__init__(batch_size, lengths=lengths)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(self.seed + epoch)


def text_lengths(posts: Dataset) -> list[int]:
    """Return the length of each post's text: characters of a corpus, tokens of encoded posts."""
    if isinstance(posts, Subset):
        lengths = text_lengths(posts.dataset)
        return [lengths[row] for row in posts.indices]
    if hasattr(posts, "posts"):  # These posts are augmented or have cached features.
        return text_lengths(posts.posts)
    if hasattr(posts, "column_names"):
        return [len(text or "") for text in posts["text"]]
    return [int(post["attention_mask"].sum()) for post in posts]


def longest_first(posts: Dataset) -> list[int]:
    """Return the rows of the posts from the longest text to the shortest, so that a batch that is too large for the
    memory is the first one."""
    return np.argsort([-length for length in text_lengths(posts)], kind="stable").tolist()
