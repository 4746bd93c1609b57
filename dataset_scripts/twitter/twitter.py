"""Twitter-2015 and Twitter-2017: tweets with one picture, labelled for each target that they name
(Yu and Jiang: Adapting BERT for Target-Oriented Multimodal Sentiment Classification, IJCAI 2019)."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, DatasetInfo, Value
from datasets.builder import Key

from ..common_corpus import LABELS, TARGET, Corpus, features, with_clean
from ..common_files import (
    check_file_name,
    content_hash,
    decode_text,
    find_pictures,
    given_file,
    picture_paths,
    read_json,
    release_folder,
)

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
# Where the pictures may be, seen from data_dir; TomBERT's download has them beside it.
IMAGE_DIRS = ("images", "{name}_images", "../{name}_images")
COLUMNS = 5  # index, label, picture, tweet with $T$ in place of the target, target


@dataclass
class TwitterConfig(BuilderConfig):
    """Args:
    substitute_target: put the target back in place of $T$; `aspect` is the target either way.
    image_dir: folder of the pictures; else the first of `IMAGE_DIRS` that exists.
    captions: a JSON file {picture file name: caption}, as CapTrBERT ships it; adds the column `caption`.
    """

    substitute_target: bool = False
    image_dir: str | None = None
    captions: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """The cache key; with the content of the captions, which may change under the same name."""
        if self.captions:
            config_kwargs = config_kwargs | {"captions": content_hash(given_file("captions", self.captions))}
        return super().create_config_id(config_kwargs, custom_features)


def read_tweets(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file, by position: the header of test.tsv names four columns for five, so that readers who go by
    names shift them. Quotes are letters like any other.

    Raises:
        ValueError: a row that has other than five columns, an unknown label, a picture that is no bare file name, no
            or two $T$, or an index twice; names the file and the line.
    """
    seen = set()
    # Lines end in \n or \r\n alone: splitlines() would cut tweets at signs such as U+2028.
    for number, line in enumerate(decode_text(path.read_bytes()).split("\n"), start=1):
        line = line.removesuffix("\r")
        if number == 1 and line.startswith("index"):
            continue
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        cells = line.split("\t")
        if len(cells) != COLUMNS:
            raise ValueError(f"{where}: {len(cells)} columns where a row has {COLUMNS}: {line[:80]!r}; correct it")
        index, label, picture, tweet, target = (cell.strip() for cell in cells)
        if label not in ("0", "1", "2"):
            raise ValueError(f"{where}: label {label!r} is none of 0 (negative), 1 (neutral), 2 (positive)")
        if TARGET not in tweet:
            raise ValueError(f"{where}: the tweet has no {TARGET}, the place of its target: {tweet[:80]!r}")
        if index in seen:
            raise ValueError(f"{where}: index {index} has a row already, further up; remove one of the two")
        seen.add(index)
        yield {
            "index": index,
            "label": LABELS[int(label)],
            "picture": check_file_name(picture, where),
            "tweet": tweet,
            "target": target,
        }


def read_captions(path: Path) -> dict[str, str]:
    """Raises:
    ValueError: it is no JSON object of strings, or names a picture twice.
    """
    captions = read_json(path)
    if not isinstance(captions, dict) or not all(isinstance(caption, str) for caption in captions.values()):
        raise ValueError(f"{path}: captions are a JSON object {{picture file name: caption}}")
    return captions


class Twitter(Corpus):
    """One class for both corpora, told apart by `dataset_name`; a row is a tweet and one of its targets.

    One more column, `group`: the tweet, which has a row for each of its targets; `caption` where captions are given.

    Raises:
        FileNotFoundError: `image_dir` or `captions` was given and is not there.
        ValueError: what `read_tweets`, `read_captions`, `release_folder`, `list_files` raise.
    """

    INDEX = (*FILES.values(), *(path.format(name=f"twitter{year}") for path in IMAGE_DIRS for year in (2015, 2017)))
    REDISTRIBUTION = (
        "unclear",
        "no licence is given, and the rights in tweets and pictures stay with their posters",
    )
    BUILDER_CONFIG_CLASS = TwitterConfig
    BUILDER_CONFIGS = with_clean(TwitterConfig("official", "1.0.0", description="The three files of the release."))
    DEFAULT_CONFIG_NAME = "official"

    def _info(self):
        extra = {"caption": Value("string")} if self.config.captions else {}
        return DatasetInfo(
            description="Tweets with one picture; sentiment towards a target that the tweet names.",
            homepage="https://github.com/jefferyYu/TomBERT",
            features=features(group=Value("string"), **extra),
        )

    def _split_generators(self, dl_manager):
        folder = release_folder(self.dataset_name, self.config.data_dir, FILES.values(), complete=False)
        notes, splits, posts = [], {split: [] for split in FILES}, {}
        for split, file_name in FILES.items():
            if not (folder / file_name).exists():
                notes.append(f"data_dir has no {file_name}: there is no {split} split")
                continue
            for row in read_tweets(folder / file_name):
                post_id = f"{split}-{row['index']}"
                splits[split].append(post_id)
                posts[post_id] = row
        pictures, absent = find_pictures(self._image_dir(folder), {row["picture"] for row in posts.values()})
        captions = read_captions(given_file("captions", self.config.captions)) if self.config.captions else None
        if captions is not None:
            without = len({row["picture"] for row in posts.values()} - set(captions))
            notes += [f"{without} pictures have no caption"] if without else []
        return self.generators(splits, posts, notes + absent, pictures=pictures, captions=captions)

    def _image_dir(self, folder: Path) -> Path:
        if self.config.image_dir:
            return given_file("image_dir", self.config.image_dir)
        candidates = [folder / path.format(name=self.dataset_name) for path in IMAGE_DIRS]
        return next((path for path in candidates if path.is_dir()), candidates[0])

    def _generate_examples(self, chunks, pictures, captions):
        for shard, posts in enumerate(chunks):
            for number, (post_id, row) in enumerate(posts):
                whole = row["tweet"].replace(TARGET, row["target"])
                post = {
                    "id": post_id,
                    "text": whole if self.config.substitute_target else row["tweet"],
                    "images": picture_paths(pictures, [row["picture"]]),
                    "aspect": row["target"],
                    "label": row["label"],
                    "text_label": None,
                    "image_label": None,
                    "group": hashlib.sha256(whole.encode()).hexdigest()[:16],
                }
                if captions is not None:
                    post["caption"] = captions.get(row["picture"])
                yield Key(shard, number), post
