"""Multi-ZOL: Chinese reviews of mobile phones with several pictures, scored for each of six aspects
(Xu, Mao, Chen: Multi-Interactive Memory Network, AAAI 2019)."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, DatasetInfo, Value
from datasets.builder import Key

from ..common_corpus import Corpus, features, hash_split, with_clean
from ..common_files import check_file_name, decode_text, find_pictures, picture_paths, release_folder

FILES = {"train": "zol_Train_jieba.txt", "validation": "zol_Dev_jieba.txt", "test": "zol_Test_jieba.txt"}
IMAGES = "img"
LINES = 4  # a sample: text, list of pictures, aspect, score
# price-performance ratio, configuration, feel, picture quality of the camera, battery life, screen
ASPECTS = ("性价比", "性能配置", "外观手感", "拍照效果", "电池续航", "屏幕效果")
SCORES = {8: (1, 2, 3, 4, 5, 6, 8, 10), 10: tuple(range(1, 11))}
REVIEW_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass
class MultiZOLConfig(BuilderConfig):
    """Args:
    classes: 8, the scores that occur (1 to 6, 8, 10), or 10, the paper's reading: every score from 1 to 10.
    """

    classes: int = 8


def parse_sample(lines: list[bytes], where: str, scores: tuple[int, ...]) -> dict:
    """One sample from its four lines: `text`, `images` (file names), `aspect`, `label` (the score as a word).

    Raises:
        ValueError: the list is no list of file names, the aspect or the score is none of the known; names `where`.
    """
    text, names, aspect, score = (decode_text(line).strip() for line in lines)
    try:
        images = ast.literal_eval(names)  # literals only: code in this place is refused, never run
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{where}, line 2 of 4: {names[:80]!r} is no list of file names; correct it") from error
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        raise ValueError(f"{where}, line 2 of 4: {names[:80]!r} is no list of file names; correct it")
    images = [check_file_name(name, f"{where}, line 2 of 4") for name in images]
    aspect = "".join(aspect.split())
    if aspect not in ASPECTS:
        raise ValueError(f"{where}, line 3 of 4: aspect {aspect[:80]!r} is none of {', '.join(ASPECTS)}; correct it")
    try:
        label = scores[scores.index(float(score))]
    except ValueError as error:
        allowed = ", ".join(map(str, scores))
        raise ValueError(f"{where}, line 4 of 4: score {score[:80]!r} is none of {allowed}; correct it") from error
    return {"text": text, "images": images, "aspect": aspect, "label": str(label)}


def review_key(text: str) -> str:
    """What tells a review from others: the samples of a review, one an aspect, have the same text."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()[:16]


def read_samples(path: Path, scores: tuple[int, ...]) -> Iterator[tuple[int, dict]]:
    """(offset in bytes, sample) of every sample of a file.

    Raises:
        ValueError: the last sample is cut short; also what `parse_sample` raises.
    """
    with path.open("rb") as file:
        offset, lines = 0, []
        for number, line in enumerate(file, start=1):
            lines.append(line)
            if len(lines) == LINES:
                where = f"{path}, sample {number // LINES}, which begins in line {number - LINES + 1}"
                yield offset, parse_sample(lines, where, scores)
                offset, lines = offset + sum(map(len, lines)), []
        if b"".join(lines).strip():
            raise ValueError(
                f"{path}, line {number - len(lines) + 1}: the last sample has {len(lines)} of its {LINES} lines; the "
                "file is cut short, get it again"
            )


class MultiZOL(Corpus):
    """Multi-ZOL; `label` is the score of the aspect, with the scores as class names.

    One more column, `group`: the review, which has a sample for each of its aspects.

    Raises:
        ValueError: `classes` is neither 8 nor 10; also what `read_samples`, `release_folder`, `list_files` raise.
    """

    INDEX = (*FILES.values(), IMAGES)
    REDISTRIBUTION = ("forbidden", "the README of its release forbids to pass it on")
    BUILDER_CONFIG_CLASS = MultiZOLConfig
    BUILDER_CONFIGS = with_clean(
        MultiZOLConfig("official", "1.0.0", description="The three files: split by pair of review and aspect."),
        MultiZOLConfig("review", "1.0.0", description="8:1:1 by a hash of the review: no review is in two splits."),
    )
    DEFAULT_CONFIG_NAME = "official"

    def _info(self):
        if self.config.classes not in SCORES:
            raise ValueError(f"classes={self.config.classes}: Multi-ZOL is read with 8 classes, or with 10.")
        return DatasetInfo(
            description="Multi-ZOL: Chinese phone reviews with pictures, a score of 1 to 10 for each aspect.",
            homepage="https://github.com/xunan0812/MIMN",
            features=features(map(str, SCORES[self.config.classes]), group=Value("string")),
        )

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, FILES.values(), complete=False)
        notes, named = [], set()
        splits, posts = {split: [] for split in FILES}, {}
        for file_split, file_name in FILES.items():
            if not (folder / file_name).exists():
                notes.append(f"data_dir has no {file_name}: its samples are in no split")
                continue
            samples = read_samples(folder / file_name, SCORES[self.config.classes])
            for number, (offset, sample) in enumerate(samples, start=1):
                post_id = f"{file_split}-{number}"
                by_review = self.scheme == "review"
                split = hash_split(review_key(sample["text"]), REVIEW_SHARES) if by_review else file_split
                splits[split].append(post_id)
                posts[post_id] = (file_name, offset)
                named.update(sample["images"])
        pictures, absent = find_pictures(folder / IMAGES, named)
        return self.generators(splits, posts, notes + absent, folder=str(folder), pictures=pictures)

    def _generate_examples(self, chunks, folder, pictures):
        for shard, posts in enumerate(chunks):
            for row, (post_id, (file_name, offset)) in enumerate(posts):
                with Path(folder, file_name).open("rb") as file:
                    file.seek(offset)
                    lines = [file.readline() for _ in range(LINES)]
                sample = parse_sample(lines, f"{folder}/{file_name}, {post_id}", SCORES[self.config.classes])
                post = {
                    "id": post_id,
                    **sample,
                    "images": picture_paths(pictures, sample["images"]),
                    "text_label": None,
                    "image_label": None,
                    "group": review_key(sample["text"]),
                }
                yield Key(shard, row), post
