"""Corpora that are read from a disk or over the network during training, and are not stored: `--streaming true`.

Trainer reads the posts of a stream by row, as those of any other corpus. With an `IterableDataset`, it can only resume
in the first pass over the posts, several processes evaluate some posts twice, and an epoch has no length.
"""

import logging
from collections.abc import Iterator
from itertools import count, islice

import torch
from datasets import Dataset, IterableDataset, IterableDatasetDict
from datasets.distributed import split_dataset_by_node

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_screening import decode_errors

from .arguments import RunArguments

logger = logging.getLogger(__name__)

SHUFFLE_BUFFER = 1000  # Posts, with undecoded images, from which each process and worker draws the next one.
OUTLINED_POSTS = 10_000  # Training posts that decide the vocabulary, the class weights and the majority class.


class StreamedPosts(torch.utils.data.Dataset):
    """The posts of a stream by row. After the last post, the next pass begins, in a new order if the stream is
    shuffled.

    Request rows in increasing order. Skipped rows are read but not decoded; an earlier row restarts the stream.

    The stream is divided into shares of different posts, from which the batches are taken in turn. Processes and data
    workers that take turns then read their own shares only. A share consists of whole files if the number of files
    allows it (`split_dataset_by_node`), otherwise of every n-th post.

    Args:
        posts: Posts with undecoded images.
        on_bad_image: `"skip"` and `"missing"` as in `screen_images`, for which every image is decoded on the way;
            `"error"` if the reader of the posts decodes them.
        length: Number of rows, in one pass or more.
        shares: Number of processes times number of workers.
        batch_size: Number of consecutive rows that a process reads.

    Raises:
        ValueError: If there is a share without posts.
    """

    def __init__(self, posts: IterableDataset, on_bad_image: str, length: int, shares: int = 1, batch_size: int = 1):
        self.posts, self.on_bad_image, self.length = posts, on_bad_image, length
        self.shares, self.batch_size = shares, batch_size
        self.column_names = posts.column_names
        self._streams: dict[int, tuple[int, Iterator[dict]]] = {}  # By share: the next position, and its posts.

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        batch, offset = divmod(row, self.batch_size)
        turn, share = divmod(batch, self.shares)
        position = turn * self.batch_size + offset
        next_position, stream = self._streams.get(share, (0, None))
        if stream is None or position < next_position:
            next_position, stream = 0, self._passes(share)
        post = next(islice(stream, position - next_position, None))
        self._streams[share] = (position + 1, stream)
        return post

    def _passes(self, share: int) -> Iterator[dict]:
        posts = split_dataset_by_node(self.posts, share, self.shares)
        for epoch in count():
            posts.set_epoch(epoch)
            empty = True
            for post in _read(posts, self.on_bad_image):
                empty = False
                yield post
            if empty:
                raise ValueError(
                    f"Share {share + 1} of {self.shares} of the stream is empty: use fewer processes or data workers."
                )


def _read(posts: IterableDataset, on_bad_image: str) -> Iterator[dict]:
    """Yield the posts of one pass. `iter` reads all of them, but `__iter__` would choose files in a data worker."""
    for batch in posts.iter(1):
        post = {name: column[0] for name, column in batch.items()}
        reasons = decode_errors(post)["reasons"] if on_bad_image != "error" else []
        if any(reasons):
            logger.warning("%s: %s", on_bad_image, "; ".join(filter(None, reasons)))
            if on_bad_image == "skip":
                continue
            images = zip(post["images"], reasons, strict=True)
            post["images"] = [image for image, reason in images if not reason]
        yield post


def outline(posts: IterableDataset, on_bad_image: str, limit: int | None = None) -> Dataset:
    """Return the first posts of a stream, or all, with the right number of images, but empty ones."""
    empty_image = {"bytes": None, "path": ""}
    rows = [
        post | {"images": [empty_image] * len(post["images"])} for post in islice(_read(posts, on_bad_image), limit)
    ]
    return Dataset.from_list(rows, features=posts.features)


def stream_corpus(
    corpus: IterableDatasetDict, on_bad_image: str, args: RunArguments
) -> tuple[dict[str, StreamedPosts], dict[str, Dataset]]:
    """Return by split the posts that Trainer reads, and outlines of `OUTLINED_POSTS` training posts and of all other
    posts."""
    posts, outlines = {}, {}
    for split, stream in undecoded(corpus).items():
        if split == "train":
            stream = stream.shuffle(seed=args.seed, buffer_size=SHUFFLE_BUFFER)
            outlines[split] = outline(stream, on_bad_image, OUTLINED_POSTS)
            steps = args.max_steps * args.gradient_accumulation_steps
            length = steps * args.world_size * args.train_batch_size
            shares = args.world_size * max(1, args.dataloader_num_workers)
            posts[split] = StreamedPosts(stream, on_bad_image, length, shares, args.train_batch_size)
        else:
            outlines[split] = outline(stream, on_bad_image)
            posts[split] = StreamedPosts(stream, on_bad_image, len(outlines[split]))
    return posts, outlines


def adapt_arguments(args: RunArguments) -> None:
    """Make the whole training one epoch of `max_steps`. Logs, evaluations and checkpoints that are due after every
    epoch come `num_train_epochs` times, after equal numbers of steps, and stages count in the same unit.

    Raises:
        ValueError: If `max_steps` is not given.
    """
    if args.max_steps <= 0:
        raise ValueError("streaming needs --max_steps: the number of posts, and so the end of an epoch, is not known.")
    args.train_sampling_strategy = "sequential"  # The stream itself is shuffled.
    for name in ("text_from_epoch", "image_from_epoch", "rest_until_epoch"):
        if getattr(args, name) is not None:
            setattr(args, name, getattr(args, name) / args.num_train_epochs)
    for name in ("eval", "logging", "save"):
        strategy = getattr(args, f"{name}_strategy")
        if strategy == "epoch":
            setattr(args, f"{name}_strategy", type(strategy)("steps"))
            setattr(args, f"{name}_steps", max(1, round(args.max_steps / args.num_train_epochs)))
