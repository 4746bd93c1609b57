"""Cases of corpora: the tiny releases of `standins`, of which one file is damaged."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from hostile_case import Case
from PIL import Image
from standins import WRITERS

from mmsent.dataset_scripts.common_splits import read_splits
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS


def write_mvsa(folder: Path) -> Path:
    """Write a few posts of each split with real ids."""
    rows = ["ID\ttext,image"]
    (folder / "data").mkdir(parents=True)
    for split, ids in read_splits(SPLITS / "mvsa_single" / "clmlf").items():
        for number, post_id in enumerate(ids[: {"train": 5}.get(split, 2)]):
            label = ("positive", "neutral", "negative")[number % 3]
            rows.append(f"{post_id}\t{label},{label}")
            (folder / "data" / f"{post_id}.txt").write_text(f"text of {post_id}")
            Image.new("RGB", (8, 6), (number * 20, 0, 0)).save(folder / "data" / f"{post_id}.jpg")
    (folder / "labelResultAll.txt").write_text("\n".join(rows) + "\n")
    return folder


RELEASES = WRITERS | {"mvsa_single": write_mvsa}
# A file of each kind: the corpus and the file.
FILES = [
    ("msed", "train/train.csv"),
    ("multi_zol", "zol_Train_jieba.txt"),
    ("mvsa_single", "labelResultAll.txt"),
    ("mvso", "posts.csv"),
    ("mvso", "english.csv"),
    ("twitter2015", "train.tsv"),
    ("vso", "3244ANPs.txt"),
    ("vso", "posts/beautiful_flower/p0.json"),
]


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def link_out(path: Path) -> None:
    """Move a file out of the release, and leave a link there."""
    target = path.resolve().parents[len(path.parts) - 1 - path.parts.index("in")] / "outside"
    path.rename(target)
    path.symlink_to(target)


DAMAGES = {
    "empty": rewrite(lambda old: b""),
    "blank lines": rewrite(lambda old: b"\n" * 9),
    "UTF-16": rewrite(lambda old: old.decode().encode("utf-16")),
    "one JSON list": rewrite(lambda old: b'[{"text": "a"}]'),
    "an HTML page": rewrite(lambda old: b"<!doctype html>\n<html>\n<p>404, not found</p>\n</html>\n"),
    "binary": rewrite(lambda old: bytes(range(256)) * 20),
    "NUL bytes": rewrite(lambda old: b"\0" * 1000),
    "brackets": rewrite(lambda old: b"[" * 60_000),
    "the last byte is missing": rewrite(lambda old: old.rstrip()[:-1]),
    "cut in the middle": rewrite(lambda old: old[: len(old) // 2 + 3]),
    "twice": rewrite(lambda old: old + old),
    "a pipe": lambda path: replace(path, os.mkfifo),
    "a device": lambda path: replace(path, lambda path: path.symlink_to("/dev/zero")),
    "a folder": lambda path: replace(path, Path.mkdir),
    "a link to itself": lambda path: replace(path, lambda path: path.symlink_to(path)),
    "missing": Path.unlink,
}


def damage(corpus: str, file: str, name: str) -> Case:
    def make(folder: Path) -> tuple[str, Path]:
        release = RELEASES[corpus](folder / corpus)
        DAMAGES[name](release / file)
        return corpus, release

    says = ANSWERS.get((file, name), ANSWERS.get(name, re.escape(Path(file).name)))
    return Case(f"{corpus}: {Path(file).name}: {name}", make, says)


# What cannot be told from a release that is whole: a split or a post less, or a shorter list or text.
SPLIT_FILES = ("train/train.csv", "zol_Train_jieba.txt", "train.tsv", "posts/beautiful_flower/p0.json")
CUT_FILES = ("zol_Train_jieba.txt", "posts.csv", "english.csv", "train.tsv")
ANSWERS = {
    **dict.fromkeys((file, "missing") for file in SPLIT_FILES),
    **dict.fromkeys((file, "the last byte is missing") for file in CUT_FILES),
    ("english.csv", "cut in the middle"): None,
    ("zol_Train_jieba.txt", "twice"): None,
}
CORPORA = [
    *(
        Case(f"{corpus}: untouched", lambda folder, corpus=corpus: (corpus, RELEASES[corpus](folder / corpus)))
        for corpus in RELEASES
    ),
    *(damage(corpus, file, name) for corpus, file in FILES for name in DAMAGES),
]
