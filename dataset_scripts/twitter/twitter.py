"""Twitter-2015 and Twitter-2017: tweets with one image, labelled for each target that they name
(Yu and Jiang: Adapting BERT for Target-Oriented Multimodal Sentiment Classification, IJCAI 2019)."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, Value

from ..common_corpus import Corpus, with_clean
from ..common_files import (
    check_file_name,
    content_hash,
    find_images,
    image_paths,
    option_path,
    read_json,
    read_lines,
    release_folder,
)
from ..common_schema import LABELS, TARGET, features
from ..common_tables import require_posts

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
# Possible places of the images, relative to data_dir. TomBERT's download has them beside it.
IMAGE_DIRS = ("images", "{name}_images", "../{name}_images")
COLUMNS = ("index", "label", "image", "tweet", "target")  # The tweet has $T$ in place of the target.


@dataclass
class TwitterConfig(BuilderConfig):
    """Options of both corpora.

    Args:
        substitute_target: Whether the text has the target in place of $T$. `aspect` is the target in any case.
        image_dir: Folder of the images; the first of `IMAGE_DIRS` that exists if None.
        captions: A JSON file {image file name: caption}, as CapTrBERT ships it. It adds the column `caption`.
    """

    substitute_target: bool = False
    image_dir: str | None = None
    captions: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """Return the key of the cache, with the content of the captions, because the file may change."""
        if self.captions:
            config_kwargs = config_kwargs | {"captions": content_hash(option_path("captions", self.captions))}
        return super().create_config_id(config_kwargs, custom_features)


def read_tweets(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file.

    Columns are read by position, because the header of test.tsv names only four of them. Quotes have no meaning.
    """
    indices = set()
    for number, line in read_lines(path):
        if not line.strip() or (number == 1 and line.startswith("index")):
            continue
        where = f"{path}, line {number}"
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{where}: {len(cells)} columns instead of {len(COLUMNS)}: {line[:80]!r}; correct it")
        row = {column: cell.strip() for column, cell in zip(COLUMNS, cells, strict=True)}
        if row["label"] not in ("0", "1", "2"):
            raise ValueError(f"{where}: label {row['label']!r} is not 0 (negative), 1 (neutral) or 2 (positive)")
        if TARGET not in row["tweet"]:
            raise ValueError(f"{where}: the tweet has no {TARGET}, the place of its target: {row['tweet'][:80]!r}")
        if row["index"] in indices:
            raise ValueError(f"{where}: an earlier row has the index {row['index']} too; remove one of them")
        indices.add(row["index"])
        check_file_name(row["image"], where)
        yield row | {"label": LABELS[int(row["label"])]}


def read_captions(path: Path) -> dict[str, str]:
    """Return {image file name: caption} from a file."""
    captions = read_json(path)
    if not isinstance(captions, dict) or not all(isinstance(caption, str) for caption in captions.values()):
        raise ValueError(f"{path}: captions are a JSON object {{image file name: caption}}")
    return captions


class Twitter(Corpus):
    """Twitter-2015 or Twitter-2017, depending on `dataset_name`. A row is a tweet and one of its targets.

    It adds the column `group`: the tweet, which has a row for each of its targets. With captions, it also adds
    `caption`.
    """

    DESCRIPTION = "Tweets with one image; sentiment towards a target that the tweet names."
    HOMEPAGE = "https://github.com/jefferyYu/TomBERT"
    INDEX = (*FILES.values(), *(path.format(name=f"twitter{year}") for path in IMAGE_DIRS for year in (2015, 2017)))
    REDISTRIBUTION = ("unclear", "no licence is given, and the rights in tweets and images stay with their posters")
    BUILDER_CONFIG_CLASS = TwitterConfig
    BUILDER_CONFIGS = with_clean(TwitterConfig("official", "1.0.0", description="The three files of the release."))
    DEFAULT_CONFIG_NAME = "official"

    def columns(self):
        extra = {"caption": Value("string")} if self.config.captions else {}
        return features(group=Value("string"), **extra)

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, FILES.values(), complete=False)
        notes, splits, sources = [], {split: [] for split in FILES}, {}
        for split, file_name in FILES.items():
            if not os.path.lexists(folder / file_name):
                notes.append(f"data_dir has no {file_name}: there is no {split} split")
                continue
            for row in read_tweets(folder / file_name):
                splits[split].append(f"{split}-{row['index']}")
                sources[f"{split}-{row['index']}"] = row
            require_posts(folder / file_name, len(splits[split]))
        image_names = {row["image"] for row in sources.values()}
        image_folder, absent = find_images(self._image_dir(folder), image_names)
        captions = read_captions(option_path("captions", self.config.captions)) if self.config.captions else None
        without_caption = len(image_names - set(captions)) if captions is not None else 0
        notes += [f"{without_caption} images have no caption"] if without_caption else []
        return self.generators(splits, sources, notes + absent, image_folder=image_folder, captions=captions)

    def _image_dir(self, folder: Path) -> Path:
        if self.config.image_dir:
            return option_path("image_dir", self.config.image_dir)
        candidates = [folder / path.format(name=self.dataset_name) for path in IMAGE_DIRS]
        return next((path for path in candidates if path.is_dir()), candidates[0])

    def read_post(self, post_id, source, image_folder, captions):
        substituted = source["tweet"].replace(TARGET, source["target"])
        post = {
            "text": substituted if self.config.substitute_target else source["tweet"],
            "images": image_paths(image_folder, [source["image"]]),
            "aspect": source["target"],
            "label": source["label"],
            "group": hashlib.sha256(substituted.encode()).hexdigest()[:16],
        }
        return post if captions is None else post | {"caption": captions.get(source["image"])}
