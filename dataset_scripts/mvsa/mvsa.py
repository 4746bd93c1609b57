"""MVSA: tweets with one picture each (Niu et al., Sentiment Analysis on Multi-View Social Data, MMM 2016)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, DatasetInfo, Value
from datasets.builder import Key

from ..common_corpus import LABELS, Corpus, features, read_splits, with_clean
from ..common_files import content_hash, decode_text, given_file, list_files, read_json, release_folder, text_encoding

LABEL_FILE = "labelResultAll.txt"
SPLITS = Path(__file__).parent / "splits"
ANNOTATORS = {"mvsa_single": 1, "mvsa_multiple": 3}
# posts a label that the rules below leave (published sizes, papers on MVSA since MultiSentiNet, CIKM 2017)
COUNTS = {
    "mvsa_single": {"positive": 2683, "neutral": 470, "negative": 1358},
    "mvsa_multiple": {"positive": 11318, "neutral": 4408, "negative": 1298},
}


@dataclass
class MVSAConfig(BuilderConfig):
    """Args:
    translations: JSON files as CLMLF ships them, a list of {"id", "text_translation"} each (the texts translated and
        back, to augment training); adds the column `text_translation`, None for posts without one.
    """

    translations: list[str] | None = None

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """The cache key; with the content of the translations, which may change under the same name."""
        if self.translations:
            hashes = [content_hash(given_file("translations", name)) for name in self.translations]
            config_kwargs = config_kwargs | {"translations": hashes}
        return super().create_config_id(config_kwargs, custom_features)


def read_translations(path: Path) -> dict[str, str]:
    """{id: text translated and back} of a file of CLMLF.

    Raises:
        ValueError: it is no JSON list of objects with "id" and "text_translation".
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not all({"id", "text_translation"} <= set(row) for row in rows):
        raise ValueError(f"{path}: translations are a JSON list of objects with id and text_translation")
    return {str(row["id"]): row["text_translation"] for row in rows}


def majority(labels: list[str]) -> str | None:
    """The label on which more than half of the annotators agree, or None."""
    label, votes = Counter(labels).most_common(1)[0]
    return label if votes > len(labels) / 2 else None


def joint_label(text: str | None, image: str | None) -> str | None:
    """The label of a post from those of its text and image: the two agree, or one is neutral and the other
    decides. None, which removes the post, for positive against negative, and where the annotators of one of the two
    did not agree. (The rule of MultiSentiNet's README, which later work follows.)"""
    if text is None or image is None:
        return None
    if text == image or image == "neutral":
        return text
    return image if text == "neutral" else None


def read_labels(path: Path, annotators: int) -> dict[str, tuple[str | None, str | None]]:
    """{id: (text label, image label)} of a label file, each the majority of the annotators' or None.

    Raises:
        ValueError: the file is no label file of this release, or a row is bad; names the file and the line.
    """
    lines = decode_text(path.read_bytes()).splitlines()
    header = "ID" + "\ttext,image" * annotators
    if [line.rstrip() for line in lines[:1]] != [header]:
        raise ValueError(f"{path}, line 1: the header must be {header!r}, found {lines[:1]}; wrong release?")
    labels = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        post_id, *columns = line.rstrip().split("\t")
        pairs = [column.split(",") for column in columns]
        if len(pairs) != annotators or any(len(pair) != 2 for pair in pairs):
            row = "ID" + "<tab>text label,image label" * annotators
            raise ValueError(f"{where}: a row is '{row}', found {line!r}; correct it")
        votes = [[word.strip() for word in modality] for modality in zip(*pairs, strict=True)]
        for word in votes[0] + votes[1]:
            if word not in LABELS:
                raise ValueError(f"{where}: unknown label {word!r}; allowed are {', '.join(LABELS)}")
        post_id = post_id.strip()
        if post_id in labels:
            raise ValueError(f"{where}: id {post_id} has a row already, further up; remove one of the two")
        labels[post_id] = (majority(votes[0]), majority(votes[1]))
    return labels


class MVSA(Corpus):
    """One class for the releases of MVSA, told apart by `dataset_name`; a config is a split scheme.

    One more column, `text_encoding`: what the text file was read as, "utf-8-sig", "gb18030" or "latin-1".

    Raises:
        ValueError: a listed post has labels by which it is removed, or the labels of all listed posts do not
            add up to the published counts; also what `release_folder`, `read_labels`, `read_splits`, `list_files`
            raise.
    """

    INDEX = (LABEL_FILE, "data")
    REDISTRIBUTION = (
        "unclear",
        "no licence is given, and the rights in tweets and pictures stay with their posters",
    )
    BUILDER_CONFIG_CLASS = MVSAConfig
    BUILDER_CONFIGS = with_clean(
        MVSAConfig("clmlf", "1.1.0", description="Stratified; of CLMLF (NAACL Findings 2022), MDSE."),
        MVSAConfig("random", "1.1.0", description="8:1:1 at random, seed 1337: make_random_split.py."),
    )
    DEFAULT_CONFIG_NAME = "clmlf"

    def _info(self):
        extra = {"text_translation": Value("string")} if self.config.translations else {}
        return DatasetInfo(
            description="MVSA: tweets with one picture; sentiment of text, of image, and of both together.",
            homepage="http://mcrlab.net/research/mvsa-sentiment-analysis-on-multi-view-social-data/",
            features=features(text_encoding=Value("string"), **extra),
        )

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, self.INDEX)
        annotated = read_labels(folder / LABEL_FILE, ANNOTATORS[self.dataset_name])
        splits = read_splits(SPLITS / self.dataset_name / self.scheme)
        listed = [post_id for ids in splits.values() for post_id in ids]
        labels = {i: (joint_label(*annotated[i]), *annotated[i]) for i in listed if i in annotated}
        removed = [post_id for post_id, (label, *_) in labels.items() if label is None]
        if removed:
            raise ValueError(
                f"{folder / LABEL_FILE}: positive against negative, or annotators without a majority, remove a post, "
                f"but the split lists have {len(removed)} such posts ({', '.join(removed[:10])}); this is not the "
                "released label file"
            )
        if len(labels) == len(listed):
            counts = {name: sum(label == name for label, *_ in labels.values()) for name in LABELS}
            if counts != COUNTS[self.dataset_name]:
                raise ValueError(
                    f"{folder / LABEL_FILE}: the label counts {counts} are not the published ones, "
                    f"{COUNTS[self.dataset_name]}; this is not the released label file"
                )
        names = list_files(folder / "data")
        posts = {i: row for i, row in labels.items() if f"{i}.txt" in names and f"{i}.jpg" in names}
        translations: dict[str, str] = {}
        for name in self.config.translations or ():
            translations |= read_translations(given_file("translations", name))
        return self.generators(splits, posts, folder=str(folder / "data"), translations=translations)

    def _generate_examples(self, chunks, folder, translations):
        for shard, posts in enumerate(chunks):
            for number, (post_id, (label, text_label, image_label)) in enumerate(posts):
                raw = Path(folder, f"{post_id}.txt").read_bytes()
                post = {
                    "id": post_id,
                    "text": decode_text(raw).strip(),
                    "images": [f"{folder}/{post_id}.jpg"],  # the path: decoded on access, named by errors
                    "aspect": None,
                    "label": label,
                    "text_label": text_label,
                    "image_label": image_label,
                    "text_encoding": text_encoding(raw),
                }
                if self.config.translations:
                    post["text_translation"] = translations.get(post_id)
                yield Key(shard, number), post
