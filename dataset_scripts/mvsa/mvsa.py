"""MVSA: tweets with one image each (Niu et al., Sentiment Analysis on Multi-View Social Data, MMM 2016)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, Value

from ..common_corpus import Corpus, with_clean
from ..common_files import (
    content_hash,
    decode_text,
    join_names,
    list_files,
    option_path,
    read_bytes,
    read_json,
    read_lines,
    release_folder,
    text_encoding,
)
from ..common_posts import open_posts
from ..common_schema import LABELS, features
from ..common_splits import read_splits
from ..common_tables import require_posts

LABEL_FILE = "labelResultAll.txt"
SPLITS = Path(__file__).parent / "splits"
ANNOTATORS = {"mvsa_single": 1, "mvsa_multiple": 3}
# Posts per label that the rules below keep, as published in papers on MVSA since MultiSentiNet (CIKM 2017).
COUNTS = {
    "mvsa_single": {"positive": 2683, "neutral": 470, "negative": 1358},
    "mvsa_multiple": {"positive": 11318, "neutral": 4408, "negative": 1298},
}


@dataclass
class MVSAConfig(BuilderConfig):
    """Options of both releases.

    Args:
        translations: JSON files as CLMLF ships them, each a list of {"id", "text_translation"}: the texts after
            translation into another language and back, which augment training. They add the column
            `text_translation`, which is None for other posts.
        captions: A table with the columns id and caption, as `mmsent caption` writes it for the images. It adds the
            column `caption`, which is None for other posts.
    """

    translations: list[str] | None = None
    captions: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """Return the key of the cache, with the content of the files of options, because they may change."""
        if self.translations:
            hashes = [content_hash(option_path("translations", name)) for name in self.translations]
            config_kwargs = config_kwargs | {"translations": hashes}
        if self.captions:
            config_kwargs = config_kwargs | {"captions": content_hash(option_path("captions", self.captions))}
        return super().create_config_id(config_kwargs, custom_features)


def read_translations(path: Path) -> dict[str, str]:
    """Return {id: text after translation and back} from a file of CLMLF."""
    rows = read_json(path)
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and "id" in row and isinstance(row.get("text_translation"), str) for row in rows
    ):
        raise ValueError(f"{path}: translations are a JSON list of objects with id and text_translation")
    translations = {str(row["id"]): row["text_translation"] for row in rows}
    if len(translations) < len(rows):
        post_id, _ = Counter(str(row["id"]) for row in rows).most_common(1)[0]
        raise ValueError(f"{path}: two entries for the id {post_id}; remove one of them")
    return translations


def read_captions(path: Path) -> dict[str, str | None]:
    """Return {id: caption} from a table."""
    table = open_posts(path, fields=("text", "images", "id", "caption"))
    for field in ("id", "caption"):
        if table.columns[field] is None:
            raise ValueError(f"{path} has no column {field}; its columns are {', '.join(table.available)}")
    rows = (row for _, row in table if not isinstance(row, ValueError))
    return {table.id_of(row): table.cell(row, "caption") or None for row in rows}


def majority(labels: list[str]) -> str | None:
    """Return the label on which more than half of the annotators agree, or None."""
    label, votes = Counter(labels).most_common(1)[0]
    return label if votes > len(labels) / 2 else None


def joint_label(text: str | None, image: str | None) -> str | None:
    """Return the label of a post from the labels of its text and its image.

    If one of them is neutral, the other decides. None removes the post: one is positive and the other negative, or the
    annotators did not agree on one of them. This is the rule of MultiSentiNet's README, which later work follows.
    """
    if text is None or image is None:
        return None
    if text == image or image == "neutral":
        return text
    return image if text == "neutral" else None


def read_labels(path: Path, annotators: int) -> dict[str, tuple[str | None, str | None]]:
    """Return {id: (text label, image label)} from a label file; None where the annotators have no majority."""
    lines = [line for _, line in read_lines(path)]
    header = "ID" + "\ttext,image" * annotators
    if [line.rstrip() for line in lines[:1]] != [header]:
        raise ValueError(f"{path}, line 1: the header must be {header!r}, not {lines[:1]}; check the release")
    labels = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        post_id, *columns = (cell.strip() for cell in line.rstrip().split("\t"))
        pairs = [column.split(",") for column in columns]
        if len(pairs) != annotators or any(len(pair) != 2 for pair in pairs):
            row = "ID" + "<tab>text label,image label" * annotators
            raise ValueError(f"{where}: a row is '{row}', not {line!r}; correct it")
        votes = [[word.strip() for word in modality] for modality in zip(*pairs, strict=True)]
        for word in votes[0] + votes[1]:
            if word not in LABELS:
                raise ValueError(f"{where}: unknown label {word!r}; allowed are {', '.join(LABELS)}")
        if post_id in labels:
            raise ValueError(f"{where}: an earlier row has the id {post_id} too; remove one of them")
        labels[post_id] = (majority(votes[0]), majority(votes[1]))
    require_posts(path, len(labels), is_split=False)
    return labels


class MVSA(Corpus):
    """MVSA-Single or MVSA-Multiple, depending on `dataset_name`. A config is a split scheme.

    It adds the column `text_encoding`, the encoding of the text file: "utf-8-sig", "gb18030" or "latin-1".
    """

    DESCRIPTION = "MVSA: tweets with one image; sentiment of the text, of the image, and of both together."
    HOMEPAGE = "http://mcrlab.net/research/mvsa-sentiment-analysis-on-multi-view-social-data/"
    INDEX = (LABEL_FILE, "data")
    REDISTRIBUTION = ("unclear", "no licence is given, and the rights in tweets and images stay with their posters")
    BUILDER_CONFIG_CLASS = MVSAConfig
    BUILDER_CONFIGS = with_clean(
        MVSAConfig("clmlf", "1.1.0", description="Stratified; of CLMLF (NAACL Findings 2022), MDSE."),
        MVSAConfig("random", "1.1.0", description="8:1:1 at random, seed 1337: make_random_split.py."),
    )
    DEFAULT_CONFIG_NAME = "clmlf"

    def columns(self):
        options = {"text_translation": self.config.translations, "caption": self.config.captions}
        extra = {name: Value("string") for name, files in options.items() if files}
        return features(text_encoding=Value("string"), **extra)

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, self.INDEX)
        splits = read_splits(SPLITS / self.dataset_name / self.scheme)
        labels = self._labels(folder / LABEL_FILE, [post_id for ids in splits.values() for post_id in ids])
        names = list_files(folder / "data")
        sources = {i: row for i, row in labels.items() if f"{i}.txt" in names and f"{i}.jpg" in names}
        translations = {}
        for name in self.config.translations or ():
            translations |= read_translations(option_path("translations", name))
        captions, notes = None, []
        if self.config.captions:
            captions = read_captions(option_path("captions", self.config.captions))
            without = len(sources.keys() - captions.keys())
            notes += [f"{without} posts have no caption"] if without else []
        files = {"translations": translations, "captions": captions}
        return self.generators(splits, sources, notes, folder=str(folder / "data"), **files)

    def _labels(self, path: Path, listed: list[str]) -> dict[str, tuple[str, str, str]]:
        """Return {id: (label, text label, image label)} of the listed posts in the label file."""
        annotated = read_labels(path, ANNOTATORS[self.dataset_name])
        labels = {i: (joint_label(*annotated[i]), *annotated[i]) for i in listed if i in annotated}
        removed = [post_id for post_id, (label, *_) in labels.items() if label is None]
        if removed:
            raise ValueError(
                f"{path}: positive against negative, or annotators without a majority, remove a post, but the split "
                f"lists have {len(removed)} such posts ({join_names(removed)}); this is not the released label file"
            )
        counts = {name: sum(label == name for label, *_ in labels.values()) for name in LABELS}
        if len(labels) == len(listed) and counts != COUNTS[self.dataset_name]:
            raise ValueError(
                f"{path}: the label counts {counts} are not the published ones, {COUNTS[self.dataset_name]}; this is "
                "not the released label file"
            )
        return labels

    def read_post(self, post_id, source, folder, translations, captions):
        content = read_bytes(Path(folder, f"{post_id}.txt"))
        post = dict(zip(("label", "text_label", "image_label"), source, strict=True)) | {
            "text": decode_text(content).strip(),
            "images": [f"{folder}/{post_id}.jpg"],  # A path is decoded on access, and errors name it.
            "text_encoding": text_encoding(content),
        }
        if self.config.translations:
            post["text_translation"] = translations.get(post_id)
        return post if captions is None else post | {"caption": captions.get(post_id)}
