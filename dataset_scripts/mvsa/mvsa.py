"""MVSA: tweets with one picture each (Niu et al., Sentiment Analysis on Multi-View Social Data, MMM 2016)."""

import os
from pathlib import Path

from datasets import BuilderConfig, DatasetInfo
from datasets.builder import Key

from ..corpus import LABELS, Corpus, decode_text, features, read_splits, release_folder

LABEL_FILE = "labelResultAll.txt"
HEADER = "ID\ttext,image"
SPLITS = Path(__file__).parent / "splits"
# posts a label that the rule below leaves (published sizes, papers on MVSA since MultiSentiNet, CIKM 2017)
COUNTS = {"mvsa_single": {"positive": 2683, "neutral": 470, "negative": 1358}}


def joint_label(text: str, image: str) -> str | None:
    """The label of a post from those of its text and image: the two agree, or one is neutral and the other
    decides. None for positive against negative: such a post is removed. (The rule of MultiSentiNet's README,
    which later work follows.)"""
    if text == image or image == "neutral":
        return text
    return image if text == "neutral" else None


def read_labels(path: Path) -> dict[str, tuple[str, str]]:
    """{id: (text label, image label)} of a label file.

    Raises:
        ValueError: the file is no label file of this release, or a row is bad; names the file and the line.
    """
    lines = decode_text(path.read_bytes()).splitlines()
    if lines[:1] != [HEADER]:
        raise ValueError(f"{path}, line 1: the header must be {HEADER!r}, found {lines[:1]}; wrong release?")
    labels = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        columns = line.split("\t")
        pair = columns[-1].split(",")
        if len(columns) != 2 or len(pair) != 2:
            raise ValueError(f"{where}: a row is 'ID<tab>text label,image label', found {line!r}; correct it")
        post_id = columns[0].strip()
        text, image = (word.strip() for word in pair)
        for word in (text, image):
            if word not in LABELS:
                raise ValueError(f"{where}: unknown label {word!r}; allowed are {', '.join(LABELS)}")
        if post_id in labels:
            raise ValueError(f"{where}: id {post_id} has a row already, further up; remove one of the two")
        labels[post_id] = (text, image)
    return labels


class MVSA(Corpus):
    """One class for the releases of MVSA, told apart by `dataset_name`; a config is a split scheme.

    Raises:
        ValueError: a listed post has labels by which it is removed, or the labels of all listed posts do not
            add up to the published counts; also what `release_folder`, `read_labels`, `read_splits` raise.
    """

    INDEX = (LABEL_FILE, "data")
    BUILDER_CONFIGS = [
        BuilderConfig("clmlf", "1.0.0", description="Stratified; of CLMLF (NAACL Findings 2022), MDSE."),
        BuilderConfig("random", "1.0.0", description="8:1:1 at random, seed 1337: make_random_split.py."),
    ]
    DEFAULT_CONFIG_NAME = "clmlf"

    def _info(self):
        return DatasetInfo(
            description="MVSA: tweets with one picture; sentiment of text, of image, and of both together.",
            homepage="http://mcrlab.net/research/mvsa-sentiment-analysis-on-multi-view-social-data/",
            features=features(),
        )

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, self.INDEX)
        annotated = read_labels(folder / LABEL_FILE)
        splits = read_splits(SPLITS / self.dataset_name / self.config.name)
        listed = [post_id for ids in splits.values() for post_id in ids]
        labels = {i: (joint_label(*annotated[i]), *annotated[i]) for i in listed if i in annotated}
        removed = [post_id for post_id, (label, *_) in labels.items() if label is None]
        if removed:
            raise ValueError(
                f"{folder / LABEL_FILE}: positive against negative removes a post, but the split lists have "
                f"{len(removed)} such posts ({', '.join(removed[:10])}); this is not the released label file"
            )
        if len(labels) == len(listed):
            counts = {name: sum(label == name for label, *_ in labels.values()) for name in LABELS}
            if counts != COUNTS[self.dataset_name]:
                raise ValueError(
                    f"{folder / LABEL_FILE}: the label counts {counts} are not the published ones, "
                    f"{COUNTS[self.dataset_name]}; this is not the released label file"
                )
        with os.scandir(folder / "data") as entries:  # one listing: a stat for every file would take seconds
            names = {entry.name for entry in entries}
        posts = {i: row for i, row in labels.items() if f"{i}.txt" in names and f"{i}.jpg" in names}
        return self.generators(splits, posts, folder=str(folder / "data"))

    def _generate_examples(self, chunks, folder):
        for shard, posts in enumerate(chunks):
            for number, (post_id, (label, text_label, image_label)) in enumerate(posts):
                text = decode_text(Path(folder, f"{post_id}.txt").read_bytes()).strip()
                post = {
                    "id": post_id,
                    "text": text,
                    "images": [f"{folder}/{post_id}.jpg"],  # the path: decoded on access, named by errors
                    "aspect": None,
                    "label": label,
                    "text_label": text_label,
                    "image_label": image_label,
                }
                yield Key(shard, number), post
