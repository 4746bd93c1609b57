"""The base class of all corpora, and what can be asked of a loaded corpus."""

import hashlib
import json
import logging
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from datasets import BuilderConfig, Dataset, DatasetInfo, Features, GeneratorBasedBuilder, Image, List, SplitGenerator
from datasets.builder import Key

from .common_files import join_names
from .common_schema import features

logger = logging.getLogger(__name__)

CHUNK_SIZE = 256  # Posts per shard, the unit that num_proc and the workers of a DataLoader distribute.
CLEAN = "_clean"  # The names of configs whose train split lacks the leaking posts end with it.
REPORT = "Build report: "  # In the description of a built corpus, the line with its report begins with it.


def with_clean(*configs: BuilderConfig) -> list[BuilderConfig]:
    """Return the configs, each followed by its clean variant."""
    note = "Without the train posts that leak into another split (dataset_scripts/common_leaks.py)."
    pairs = [(c, replace(c, name=c.name + CLEAN, description=f"{c.description} {note}")) for c in configs]
    return [config for pair in pairs for config in pair]


class Corpus(GeneratorBasedBuilder):
    """Base class of the corpora.

    A subclass defines `_split_generators`, which lists the posts and ends with `self.generators(...)`, and either
    `read_post` or `read_chunk`, which reads the posts.

    Attributes:
        DESCRIPTION: What the corpus is, in one sentence.
        HOMEPAGE: Address of its authors' page.
        INDEX: Files and folders below `data_dir` on which the cached corpus depends. It is built again when the
            content or the time of such a file changes, and when files are added to or removed from such a folder.
        REDISTRIBUTION: Whether the posts may be published, and why.
    """

    DESCRIPTION: str
    HOMEPAGE = ""
    INDEX: tuple[str, ...] = ()
    REDISTRIBUTION: tuple[Literal["allowed", "unclear", "forbidden"], str]

    @classmethod
    def locate(
        cls, name: str, data_dir: str | Path | None, data_files: str | Path | Sequence | Mapping | None
    ) -> tuple[dict, list[Path]]:
        """Return the arguments of the class that say where the corpus lies, and the paths on which its cache depends.

        Raises:
            ValueError: If the corpus does not take `data_files`.
        """
        if data_files:
            raise ValueError(f"{name} takes data_dir, the folder of its release, and not data_files")
        folder = None if data_dir is None else Path(os.path.realpath(Path(data_dir).expanduser()))
        paths = [path for pattern in cls.INDEX if folder for path in sorted(folder.glob(pattern))]
        return {"data_dir": folder and str(folder)}, paths

    def columns(self) -> Features | None:
        """Return the columns. A corpus that has more than the shared ones overrides this."""
        return features()

    def _info(self):
        return DatasetInfo(description=self.DESCRIPTION, homepage=self.HOMEPAGE, features=self.columns())

    @property
    def scheme(self) -> str:
        """The split scheme: the name of the config without the ending of the clean variant."""
        return self.config.name.removesuffix(CLEAN)

    def read_post(self, post_id: str, source: Any, **context) -> dict:
        """Return the row of a post. Columns that all corpora share may be absent; they are None then.

        Args:
            source: What `generators` got for this post.
            context: What `generators` got for all posts.
        """
        raise NotImplementedError

    def read_chunk(self, posts: list[tuple[str, Any]], **context) -> Iterator[dict]:
        """Yield the rows of several posts with their ids. A corpus may override this to open a file only once."""
        for post_id, source in posts:
            yield {"id": post_id} | self.read_post(post_id, source, **context)

    def _generate_examples(self, chunks: list[list[tuple[str, Any]]], **context):
        for shard, posts in enumerate(chunks):
            for number, row in enumerate(self.read_chunk(posts, **context)):
                yield Key(shard, number), {"aspect": None, "text_label": None, "image_label": None} | row

    def generators(
        self, splits: Mapping[str, list[str]], sources: Mapping[str, Any], notes: Iterable[str] = (), **context
    ) -> list[SplitGenerator]:
        """Return a `SplitGenerator` for each split that has posts.

        Posts that are missing from the release, the notes, and the posts that a clean variant drops are logged as
        warnings. They also stay with the built corpus, see `missing_report` and `corpus_notes`.

        Args:
            splits: The ids of each split.
            sources: For each post that can be read, what `read_post` needs to read it.
            notes: Whatever else a user has to know about this release.
            context: What `read_post` needs for all posts.
        """
        notes = list(notes)
        missing = {split: [post_id for post_id in ids if post_id not in sources] for split, ids in splits.items()}
        missing = {split: ids for split, ids in missing.items() if ids}
        posts = {split: [(i, sources[i]) for i in ids if i in sources] for split, ids in splits.items()}
        if not any(posts.values()):
            raise FileNotFoundError(
                f"data_dir {self.config.data_dir} holds none of the posts of {self.dataset_name}, "
                f"split {self.config.name}: check that it is the right release and that it is unpacked completely"
            )
        if self.config.name.endswith(CLEAN):
            leaking = self._leaking_ids(posts, context)
            posts["train"] = [post for post in posts["train"] if post[0] not in leaking]
            if missing:
                notes.append("posts that are not in data_dir could not be compared: train may have more that leak")
            counts = f"{len(leaking)} posts that leak were dropped from train, {len(posts['train'])} are left"
            notes.append(f"{counts}: {', '.join(sorted(leaking))}" if leaking else counts)
        self._report(splits, missing, notes)
        return [
            SplitGenerator(split, gen_kwargs={"chunks": _chunks(split_posts), **context})
            for split, split_posts in posts.items()
            if split_posts
        ]

    def _report(self, splits: Mapping[str, list[str]], missing: dict[str, list[str]], notes: list[str]) -> None:
        """Log missing posts and notes, and write them into the description, which stays with the built corpus."""
        name = f"{self.dataset_name}, {self.config.name}"
        for split, ids in missing.items():
            count = f"{len(ids)} of {len(splits[split])} posts"
            logger.warning("%s: %s of %s are not in data_dir: %s", name, count, split, join_names(ids))
        for note in notes:
            logger.warning("%s: %s", name, textwrap.shorten(note, 300, placeholder=" ..."))
        self.info.description = describe_build(self.DESCRIPTION, missing, notes)

    def _leaking_ids(self, posts: Mapping[str, list[tuple[str, Any]]], context: dict) -> set[str]:
        """Return the ids of the train posts that leak into another split."""
        from .common_leaks import Traces, leaking_rows  # These imports take time, and only clean variants need them.

        traces = {}
        for split, split_posts in posts.items():
            examples = self._generate_examples(_chunks(split_posts), **context)
            traces[split] = Traces.of((row for _, row in examples), len(split_posts), split)
        train = traces.pop("train")
        return {train.ids[row] for row in leaking_rows(train, traces.values())}


def _chunks(posts: list) -> list[list]:
    return [posts[start : start + CHUNK_SIZE] for start in range(0, len(posts), CHUNK_SIZE)]


def describe_build(description: str, missing: dict[str, list[str]], notes: list[str]) -> str:
    """Return the description of a built corpus, from which `missing_report` and `corpus_notes` read."""
    return f"{description}\n{REPORT}{json.dumps({'missing': missing, 'notes': notes})}"


def missing_report(corpus: Mapping) -> dict[str, list[str]]:
    """Return the ids that each split lacks because they are missing from `data_dir`; `{}` if nothing is missing.

    A split without any post is not in the corpus, but is in the report.

    Args:
        corpus: A `DatasetDict` or `IterableDatasetDict`.
    """
    return _build_report(corpus)["missing"]


def corpus_notes(corpus: Mapping) -> list[str]:
    """Return the other notes of the build: absent files, posts without images, posts that were left out."""
    return _build_report(corpus)["notes"]


def _build_report(corpus: Mapping) -> dict:
    lines = next(iter(corpus.values())).info.description.split("\n")
    reports = [json.loads(line.removeprefix(REPORT)) for line in lines if line.startswith(REPORT)]
    return reports[0] if reports else {"missing": {}, "notes": []}


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
