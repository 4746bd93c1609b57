"""What the corpora share: columns, split files, the base of the builders, missing posts."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from datasets import (
    BuilderConfig,
    ClassLabel,
    Dataset,
    Features,
    GeneratorBasedBuilder,
    Image,
    List,
    SplitGenerator,
    Value,
)

logger = logging.getLogger(__name__)

LABELS = ["negative", "neutral", "positive"]
SPLIT_FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum, so that `sha256sum -c SHA256SUMS` works too
CHUNK = 256  # posts a shard: the unit that num_proc and DataLoader workers share out
TARGET = "$T$"  # in a text, the place of the target that `aspect` names
CLEAN = "_clean"  # ends the name of a config whose train split lacks the posts that leak


def features(label_names: Iterable[str] = LABELS, **extra) -> Features:
    """The columns of every corpus, and after them those that one corpus adds. `aspect`, `text_label` and
    `image_label` are None where a corpus has none."""
    text, label = Value("string"), ClassLabel(names=list(label_names))
    columns = {"id": text, "text": text, "images": List(Image()), "aspect": text}
    return Features(columns | {"label": label, "text_label": label, "image_label": label} | extra)


def undecoded(posts):
    """Return a dataset, or a dictionary of datasets by split, whose images stay `{"bytes", "path"}` dictionaries."""
    if isinstance(posts, dict):
        return type(posts)({split: undecoded(rows) for split, rows in posts.items()})
    return posts.cast_column("images", List(Image(decode=False)))


def rows_hash(posts: Dataset | Mapping[str, Dataset], columns: Sequence[str] | None = None) -> str:
    """Return the SHA-256 of the rows of a dataset, or of all its splits: two corpora with the same hash are the same.

    Images count by their path and, where the dataset holds them, by their bytes. Unlike the fingerprint of a dataset,
    the hash is the same in every process.

    Args:
        columns: The columns to read; all columns by default.
    """
    digest = hashlib.sha256()
    splits = posts if isinstance(posts, Mapping) else {"": posts}
    for split, rows in sorted(splits.items()):
        digest.update(f"{split}\n".encode())
        rows = rows if columns is None else rows.select_columns(list(columns))
        for batch in rows.with_format("arrow").iter(1000):
            for row in batch.to_pylist():
                digest.update(json.dumps(row, sort_keys=True, default=bytes.hex).encode() + b"\n")
    return digest.hexdigest()


def with_clean(*configs: BuilderConfig) -> list[BuilderConfig]:
    """The configs, each followed by its clean variant."""
    note = "Without the train posts that leak into another split (dataset_scripts/leaks.py)."
    pairs = [(c, replace(c, name=c.name + CLEAN, description=f"{c.description} {note}")) for c in configs]
    return [config for pair in pairs for config in pair]


def read_splits(folder: Path) -> dict[str, list[str]]:
    """The ids of each split, from the split files in `folder`.

    Raises:
        ValueError: a split file is not the one that its checksum in SHA256SUMS was made from.
    """
    sums = {}
    for line in (folder / CHECKSUMS).read_text().splitlines():
        checksum, name = line.split(maxsplit=1)
        sums[name] = checksum
    splits = {}
    for split, name in SPLIT_FILES.items():
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise ValueError(
                f"{folder / name} does not match its checksum in {CHECKSUMS}: results on it could not be "
                "compared with others; restore the file from the repository"
            )
        splits[split] = content.decode().split()
    return splits


def write_splits(folder: Path, splits: Mapping[str, Iterable[str]]) -> None:
    """Write the split files and their checksums: how a split is made, once, before it is committed."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = ""
    for split, name in SPLIT_FILES.items():
        content = "".join(f"{post_id}\n" for post_id in splits[split]).encode()
        (folder / name).write_bytes(content)
        sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (folder / CHECKSUMS).write_bytes(sums.encode())


def hash_split(key: str, shares: Mapping[str, float]) -> str:
    """The split of a post by a hash of its key alone: it stays where it is whichever other posts there are, so the
    splits of a partial crawl are parts of the splits of a complete one.

    Args:
        shares: of each split, adding up to one.
    """
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    for split, share in shares.items():
        place -= share
        if place < 0:
            return split
    return split


class Corpus(GeneratorBasedBuilder):
    """Base of the builders. `INDEX` names what the cache key depends on, relative to `data_dir`: label files
    (time and content) and folders of posts (their own time, so that added and removed files count).

    `REDISTRIBUTION` says whether the posts may be passed on, and why."""

    INDEX: tuple[str, ...] = ()
    REDISTRIBUTION: tuple[Literal["allowed", "unclear", "forbidden"], str]

    @property
    def scheme(self) -> str:
        """The split scheme: the config's name, without the ending of the clean variant."""
        return self.config.name.removesuffix(CLEAN)

    def generators(
        self, splits: Mapping[str, list[str]], posts: Mapping[str, object], notes: Iterable[str] = (), **gen_kwargs
    ) -> list[SplitGenerator]:
        """A SplitGenerator for each split that has posts; `_generate_examples` gets `chunks`, lists of
        (id, `posts[id]`), and `gen_kwargs`.

        Ids of a split that are not in `posts` are left out. This, `notes`, and what a clean variant drops are warned
        about and written into `info.description`, which stays with the built corpus: `missing_report` and
        `corpus_notes` read them back.

        Raises:
            FileNotFoundError: none of the posts is there.
        """
        if not any(post_id in posts for ids in splits.values() for post_id in ids):
            raise FileNotFoundError(
                f"data_dir {self.config.data_dir} holds none of the posts of {self.dataset_name}, "
                f"split {self.config.name}: is it the right release, and is it unpacked completely?"
            )
        notes, left_out, kept = list(notes), [], {}
        for split, ids in splits.items():
            missing = [post_id for post_id in ids if post_id not in posts]
            if missing:
                count = f"{len(missing)} of {len(ids)} posts that are not in data_dir"
                left_out.append(f"Left out of {split}: {count}: {', '.join(missing)}")
            kept[split] = [(post_id, posts[post_id]) for post_id in ids if post_id in posts]
        if self.config.name.endswith(CLEAN):
            leaking = self._leaking(kept, gen_kwargs)
            kept["train"] = [post for post in kept["train"] if post[0] not in leaking]
            if left_out:
                notes.append("posts that are not in data_dir could not be compared: train may have more that leak")
            counts = f"{len(leaking)} posts that leak were dropped from train, {len(kept['train'])} are left"
            notes.append(f"{counts}: {', '.join(sorted(leaking))}" if leaking else counts)
        lines = left_out + [f"Note: {note}" for note in notes]
        for line in lines:
            entries = line.split(", ")
            more = ", ..." if len(entries) > 10 else ""
            logger.warning("%s, %s: %s", self.dataset_name, self.config.name, ", ".join(entries[:10]) + more)
        self.info.description = "\n".join([self._info().description, *lines])
        return [
            SplitGenerator(split, gen_kwargs={"chunks": _chunks(rows), **gen_kwargs})
            for split, rows in kept.items()
            if rows
        ]

    def _leaking(self, kept: Mapping[str, list[tuple]], gen_kwargs: dict) -> set[str]:
        """Ids of the train posts that leak into another split."""
        from .common_leaks import Traces, leaking_rows  # it reads pictures: only a clean variant pays for the imports

        traces = {}
        for split, rows in kept.items():
            examples = self._generate_examples(_chunks(rows), **gen_kwargs)
            traces[split] = Traces.of((post for _, post in examples), len(rows), split)
        train = traces.pop("train")
        return {train.ids[row] for row in leaking_rows(train, traces.values())}


def _chunks(rows: list) -> list[list]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def missing_report(dataset_dict: Mapping) -> dict[str, list[str]]:
    """The ids that each split lacks because `data_dir` lacked them, from what `load_dataset` gave
    (DatasetDict or IterableDatasetDict); {} when nothing is missing. A split without any post is not in the
    DatasetDict, but is in the report."""
    found = re.findall(r"^Left out of (\w+): .*?: (.+)$", _description(dataset_dict), re.MULTILINE)
    return {split: ids.split(", ") for split, ids in found}


def corpus_notes(dataset_dict: Mapping) -> list[str]:
    """What else a builder had to say: files that the release lacks, posts without their pictures, posts dropped."""
    return re.findall(r"^Note: (.+)$", _description(dataset_dict), re.MULTILINE)


def _description(dataset_dict: Mapping) -> str:
    return next(iter(dataset_dict.values())).info.description
