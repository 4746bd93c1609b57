"""Multi-ZOL: Chinese reviews of mobile phones with several images, scored for each of six aspects
(Xu, Mao, Chen: Multi-Interactive Memory Network, AAAI 2019)."""

import ast
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, Value

from ..common_corpus import Corpus, with_clean
from ..common_files import check_file_name, find_images, image_paths, open_file, refuse_utf16, release_folder
from ..common_schema import features
from ..common_splits import hash_split
from ..common_tables import UNDECODED, decode_utf8_or_gb18030, require_posts

FILES = {"train": "zol_Train_jieba.txt", "validation": "zol_Dev_jieba.txt", "test": "zol_Test_jieba.txt"}
IMAGES = "img"
LINES = 4  # A sample has four lines: text, list of images, aspect, score.
# value for money, performance, look and feel, camera, battery life, screen
ASPECTS = ("性价比", "性能配置", "外观手感", "拍照效果", "电池续航", "屏幕效果")
SCORES = {8: (1, 2, 3, 4, 5, 6, 8, 10), 10: tuple(range(1, 11))}
REVIEW_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass
class MultiZOLConfig(BuilderConfig):
    """Options of Multi-ZOL.

    Args:
        classes: 8 for the scores that occur (1 to 6, 8, 10), or 10 for every score from 1 to 10, as in the paper.
    """

    classes: int = 8


def parse_sample(lines: list[bytes], where: str, scores: tuple[int, ...]) -> dict:
    """Parse the four lines of a sample.

    Args:
        where: File and place of the sample, for error messages.
        scores: The allowed scores.

    Returns:
        `text`, `images` (file names), `aspect`, and `label` (the score as a string).
    """
    text, names, aspect, score = decoded = [decode_utf8_or_gb18030(line).strip() for line in lines]
    for number, line in enumerate(decoded, start=1):
        if UNDECODED.search(line):
            raise ValueError(f"{where}, line {number} of 4: neither UTF-8 nor GB18030; convert the file to UTF-8")
    try:
        images = ast.literal_eval(names)  # This reads literals only, and never runs code.
        if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
            raise ValueError("it is another literal")
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{where}, line 2 of 4: {names[:80]!r} is not a list of file names; correct it") from error
    images = [check_file_name(name, f"{where}, line 2 of 4") for name in images]
    aspect = "".join(aspect.split())
    if aspect not in ASPECTS:
        allowed = ", ".join(ASPECTS)
        raise ValueError(f"{where}, line 3 of 4: aspect {aspect[:80]!r} is not one of {allowed}; correct it")
    try:
        label = scores[scores.index(float(score))]
    except ValueError as error:
        allowed = ", ".join(map(str, scores))
        raise ValueError(f"{where}, line 4 of 4: score {score[:80]!r} is not one of {allowed}; correct it") from error
    return {"text": text, "images": images, "aspect": aspect, "label": str(label)}


def review_key(text: str) -> str:
    """Return a key of the review: its samples, one per aspect, have the same text."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()[:16]


def read_samples(path: Path, scores: tuple[int, ...]) -> Iterator[tuple[int, dict]]:
    """Yield the position in bytes and the content of every sample of a file."""
    refuse_utf16(path)
    with open_file(path) as file:
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
    """Multi-ZOL. The label is the score of the aspect, and the scores are the names of the classes.

    It adds the column `group`: the review, which has a sample for each of its aspects.
    """

    DESCRIPTION = "Multi-ZOL: Chinese phone reviews with images, a score of 1 to 10 for each aspect."
    HOMEPAGE = "https://github.com/xunan0812/MIMN"
    INDEX = (*FILES.values(), IMAGES)
    REDISTRIBUTION = ("forbidden", "the README of its release forbids publication")
    BUILDER_CONFIG_CLASS = MultiZOLConfig
    BUILDER_CONFIGS = with_clean(
        MultiZOLConfig("official", "1.0.0", description="The three files: split by pair of review and aspect."),
        MultiZOLConfig("review", "1.0.0", description="8:1:1 by a hash of the review: no review is in two splits."),
    )
    DEFAULT_CONFIG_NAME = "official"

    def columns(self):
        if self.config.classes not in SCORES:
            raise ValueError(f"classes={self.config.classes}: Multi-ZOL has 8 classes or 10")
        return features(map(str, SCORES[self.config.classes]), group=Value("string"))

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, FILES.values(), complete=False)
        notes, image_names, splits, sources = [], set(), {split: [] for split in FILES}, {}
        for file_split, file_name in FILES.items():
            if not os.path.lexists(folder / file_name):
                notes.append(f"data_dir has no {file_name}: its samples are in no split")
                continue
            samples = read_samples(folder / file_name, SCORES[self.config.classes])
            number = 0
            for number, (offset, sample) in enumerate(samples, start=1):
                post_id = f"{file_split}-{number}"
                by_review = self.scheme == "review"
                split = hash_split(review_key(sample["text"]), REVIEW_SHARES) if by_review else file_split
                splits[split].append(post_id)
                sources[post_id] = (file_name, offset)
                image_names.update(sample["images"])
            require_posts(folder / file_name, number)
        image_folder, absent = find_images(folder / IMAGES, image_names)
        return self.generators(splits, sources, notes + absent, folder=str(folder), image_folder=image_folder)

    def read_post(self, post_id, source, folder, image_folder):
        file_name, offset = source
        with open_file(Path(folder, file_name)) as file:
            file.seek(offset)
            lines = [file.readline() for _ in range(LINES)]
        sample = parse_sample(lines, f"{folder}/{file_name}, {post_id}", SCORES[self.config.classes])
        images = image_paths(image_folder, sample["images"])
        return sample | {"images": images, "group": review_key(sample["text"])}
