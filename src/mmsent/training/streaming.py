"""Corpora that are read as they come, from a disk or over the network, and kept nowhere: `train.py --streaming true`.

Trainer is given posts by row, as of any corpus. With an IterableDataset it neither resumes after the first pass nor
counts evaluated posts once over several processes, and epochs have no length; samplers of rows do all of that.
"""

import logging
from collections.abc import Iterator
from itertools import count, islice

import torch
from datasets import Dataset, Image, IterableDataset, IterableDatasetDict, List
from datasets.distributed import split_dataset_by_node

from mmsent.dataset_scripts.common_screening import decode_errors

from .arguments import RunArguments

logger = logging.getLogger(__name__)

SHUFFLE_BUFFER = 1000  # posts, images undecoded, among which the next is drawn; a worker holds as many
SAMPLE = 10_000  # training posts that tell words, class weights and the majority class


class StreamedPosts(torch.utils.data.Dataset):
    """The posts of a stream by row, pass after pass, each shuffled anew if the stream is.

    Rows must grow: those in between are read but not decoded, and to go back is to start again. Batches are dealt out
    to `shares`, each with posts of its own, so that processes and workers that take turns read what is theirs alone;
    a share is files where their number allows it (`split_dataset_by_node`), else every so many-th post.

    Args:
        posts: with undecoded images.
        on_bad_image: `"skip"` and `"missing"` as in `screen_images`, but decoding every image on the way; `"error"`
            leaves it to whoever decodes.
        length: rows, of one pass or more.
        shares: processes times workers.
        batch_size: rows in a row that a process reads.

    Raises:
        ValueError: there is no post in a share.
    """

    def __init__(self, posts: IterableDataset, on_bad_image: str, length: int, shares: int = 1, batch_size: int = 1):
        self.posts, self.on_bad_image, self.length = posts, on_bad_image, length
        self.shares, self.batch_size = shares, batch_size
        self.column_names = posts.column_names
        self._open: dict[int, tuple[int, Iterator[dict]]] = {}  # share -> where it is, and what comes next

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        batch, offset = divmod(row, self.batch_size)
        turn, share = divmod(batch, self.shares)
        place = turn * self.batch_size + offset
        here, posts = self._open.get(share, (place + 1, None))
        if place < here:
            here, posts = 0, self._passes(share)
        post = next(islice(posts, place - here, None))
        self._open[share] = (place + 1, posts)
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
                raise ValueError(f"share {share + 1} of {self.shares} of the stream is empty: use fewer processes.")


def _read(posts: IterableDataset, on_bad_image: str) -> Iterator[dict]:
    """One pass. By `iter`, since `__iter__` would give a data worker its own choice of files."""
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


def outline(posts: IterableDataset, on_bad_image: str, most: int | None = None) -> Dataset:
    """The posts of a stream, the first `most`, with as many images as each has, but empty ones."""
    empty = {"bytes": None, "path": ""}
    rows = [post | {"images": [empty] * len(post["images"])} for post in islice(_read(posts, on_bad_image), most)]
    return Dataset.from_list(rows, features=posts.features)


def stream_corpus(
    corpus: IterableDatasetDict, on_bad_image: str, args: RunArguments
) -> tuple[dict[str, StreamedPosts], dict[str, Dataset]]:
    """By split, the posts that Trainer reads, and outlines: of evaluation splits all, of training `SAMPLE` posts."""
    posts, outlines = {}, {}
    for split, stream in corpus.items():
        stream = stream.cast_column("images", List(Image(decode=False)))
        if split == "train":
            stream = stream.shuffle(seed=args.seed, buffer_size=SHUFFLE_BUFFER)
            outlines[split] = outline(stream, on_bad_image, SAMPLE)
            steps = args.max_steps * args.gradient_accumulation_steps
            length, shares = steps * args.world_size * args.train_batch_size, args.world_size
            shares *= max(1, args.dataloader_num_workers)
            posts[split] = StreamedPosts(stream, on_bad_image, length, shares, args.train_batch_size)
        else:
            outlines[split] = outline(stream, on_bad_image)
            posts[split] = StreamedPosts(stream, on_bad_image, len(outlines[split]))
    return posts, outlines


def adapt_arguments(args: RunArguments) -> None:
    """The whole training is one epoch of `max_steps`; what is due after an epoch comes after so many equal parts as
    there were to be epochs.

    Raises:
        ValueError: no max_steps.
    """
    if args.max_steps <= 0:
        raise ValueError("streaming needs --max_steps: how many posts there are, and so an epoch's end, is not known.")
    args.train_sampling_strategy = "sequential"  # the stream is shuffled
    for name in ("eval", "logging", "save"):
        strategy = getattr(args, f"{name}_strategy")
        if strategy == "epoch":
            setattr(args, f"{name}_strategy", type(strategy)("steps"))
            setattr(args, f"{name}_steps", max(1, round(args.max_steps / args.num_train_epochs)))
