"""Load the posts that a training run reads."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, config

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_arguments import naming, parse_name_values
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report
from mmsent.dataset_scripts.common_files import name_full_disk
from mmsent.dataset_scripts.common_rows import TABLES
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.dataset_scripts.common_sources import load_source
from mmsent.dataset_scripts.posts.plan import write_split_file
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_loading import check_source
from mmsent.modeling.common_processing import MultimodalProcessor

from .arguments import DataArguments, RunArguments, check_metric
from .run_folder import corpus_checksum, images_checksum
from .streaming import stream_corpus

SPLIT_FILE = "splits.json"
MAX_ASPECTS = 50  # aspects in the config, which a demo offers; a corpus of targets has thousands


@dataclass
class RunPosts:
    """The posts of a run.

    Attributes:
        splits: The posts of each split that training and evaluation read.
        outlines: Datasets of the same posts. Those of a streamed corpus come from `stream_corpus`.
        report: The entries of run.json about the posts.
        streamed: Whether `splits` are streams.
        split_ids: The ids of each split of a table of posts, before images were screened; None for other corpora.
    """

    splits: Mapping[str, Any]
    outlines: Mapping[str, Dataset]
    report: dict
    streamed: bool
    split_ids: dict[str, list[str]] | None = None

    @property
    def label_names(self) -> list[str]:
        return self.outlines["train"].features["label"].names

    @property
    def labels(self) -> dict[str, list[int]]:
        """The class index of every post, by split."""
        return {split: list(outline["label"]) for split, outline in self.outlines.items()}

    def texts(self, architecture: str) -> Iterator[str | None]:
        """Return the training texts, and those of further columns whose words the architecture reads."""
        columns = self.filled(ARCHITECTURES[architecture].processor.text_columns)
        return chain.from_iterable(self.outlines["train"][name] for name in ("text", *columns))

    def aspects(self) -> Iterator[str]:
        """Return the aspects of the training posts, whose words the texts may never use."""
        return filter(None, self.outlines["train"]["aspect"])

    def filled(self, columns: Iterable[str]) -> list[str]:
        """Return those of these columns that are not empty in the training posts."""
        train = self.outlines["train"]
        return [name for name in columns if name in train.column_names and any(train[name])]

    def write_splits(self, output_dir: Path) -> None:
        """Write the ids of each split of a table of posts into the folder of the run, for `splits=` of another run."""
        if self.split_ids is not None:
            write_split_file(output_dir / SPLIT_FILE, self.split_ids)

    def frequent_aspects(self) -> list[str]:
        counts = Counter(filter(None, self.outlines["train"]["aspect"]))
        return [aspect for aspect, _ in counts.most_common(MAX_ASPECTS)]


def load_posts(args: DataArguments, run_args: RunArguments) -> RunPosts:
    """Load the corpus and deal with its images that cannot be decoded."""
    with naming("dataset_kwargs"):
        options = parse_name_values(args.dataset_kwargs)
    options |= args.table_options()
    cache = Path(config.HF_DATASETS_CACHE)
    with run_args.main_process_first(desc="loading the corpus"), name_full_disk(cache):
        with naming(f"dataset {args.dataset}"):
            path = Path(args.dataset).expanduser()
            if "/" in args.dataset and not path.exists() and path.suffix.lower() not in TABLES:
                check_source(args.dataset)
            corpus = load_source(
                args.dataset, args.dataset_config, data_dir=args.data_dir, streaming=args.streaming, **options
            )
        check_columns(args, run_args, next(iter(corpus.values())).features)
        for split in ("train",) if run_args.eval_strategy == "no" else ("train", "validation"):
            if split not in corpus:
                raise ValueError(
                    f"{args.dataset} has no {split} posts here, only {', '.join(corpus)}. To train without validation "
                    "posts, add --eval_strategy no --save_strategy no --load_best_model_at_end false."
                )
        report = {"missing_posts": missing_report(corpus), "notes": corpus_notes(corpus), "bad_images": {}}
        # A relative path looks like an id of the Hub when the folder is gone.
        report["dataset_is_folder"] = args.dataset not in CORPORA and Path(args.dataset).is_dir()
        if args.streaming:
            splits, outlines = stream_corpus(corpus, args.on_bad_image, run_args)
            report |= {"corpus_sha256": None, "images_sha256": None}
            report["notes"].append(
                "the corpus was streamed: it has no checksum and no count of training posts, and images that cannot "
                "be decoded are named in the log only; the vocabulary, the class weights and the majority class are "
                f"those of {len(outlines['train']):,} training posts"
            )
        else:
            file_hashes: dict[str, str] = {}
            splits, report["bad_images"] = screen_images(corpus, args.on_bad_image, file_hashes)
            outlines, report["corpus_sha256"] = splits, corpus_checksum(splits)
            report["images_sha256"] = None if args.modalities == "text" else images_checksum(splits, file_hashes)
    empty = [split for split, posts in outlines.items() if not len(posts)]
    if empty:
        raise ValueError(f"{args.dataset} has no post left in {', '.join(empty)}: see --on_bad_image and the corpus.")
    pictures = any(outlines["train"]["images"]) or "image_features" in outlines["train"].column_names
    if args.modalities != "text" and args.on_bad_image == "error" and not pictures:
        raise ValueError(
            f"{args.dataset} has no pictures here ({'; '.join(report['notes']) or 'no post names one'}): add them to "
            "data_dir, or train on the texts with --modalities text, or treat them as absent with --on_bad_image "
            "missing."
        )
    is_table = (args.dataset not in CORPORA or args.dataset == "posts") and not args.streaming
    split_ids = {split: list(posts["id"]) for split, posts in corpus.items()} if is_table else None
    return RunPosts(splits, outlines, report, args.streaming, split_ids)


def check_columns(args: DataArguments, run_args: RunArguments, columns: Mapping[str, Any]) -> None:
    """Check that the posts have the column and the classes that arguments name."""
    if args.text_augmentation not in (None, *columns):
        raise ValueError(
            f"text_augmentation={args.text_augmentation}: the posts have no such column, only {', '.join(columns)}."
        )
    check_metric(run_args.metric_for_best_model, columns["label"].names)


def check_vectors(posts: RunPosts, processor: MultimodalProcessor) -> None:
    """Check that the training posts have the vectors that a model reads in place of images.

    Raises:
        ValueError: If they have none, or their first one has another length.
    """
    size, train = processor.image_feature_size, posts.outlines["train"]
    if size is None:
        return
    if "image_features" not in train.column_names:
        raise ValueError(
            "image_encoder=precomputed: the posts have no column image_features, only "
            f"{', '.join(train.column_names)}. Name it with --image_features_column."
        )
    lengths = (len(vector) for row in train.select_columns("image_features") for vector in row["image_features"] or ())
    length = next(lengths, size)
    if length != size:
        raise ValueError(
            f"image_features has {length} numbers per image: set model_kwargs image_hidden_size={length}."
        )


def confident_rows(scores: np.ndarray, labels: list[int], threshold: float) -> list[int]:
    """Return the rows of `scores` (N, C) in which the score of the label is above the threshold."""
    return np.flatnonzero(scores[range(len(labels)), labels] > threshold).tolist()


def progressive_rows(scores: np.ndarray, ids: Iterable[str], seed: int) -> list[int]:
    """Return the rows of `scores` (N, C) that PCNN keeps: with the probability min(1, exp(s1 - s2) - 1), where s1 and
    s2 are the two highest scores of a post.

    The label does not matter. Whether a post is kept depends on the seed, its id and its scores only.
    """
    second, first = np.sort(scores, 1)[:, -2:].T  # (N,) each
    draws = [np.random.default_rng([seed, *id.encode()]).random() for id in ids]
    return np.flatnonzero(draws < np.expm1(first - second)).tolist()
