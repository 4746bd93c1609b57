"""The base of VSO and MVSO: Flickr photos that adjective-noun pairs (ANPs) found, whose sentiment is the label."""

import itertools
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import BuilderConfig, Features, Value

from .common_corpus import Corpus
from .common_files import (
    check_file_name,
    find_images,
    image_paths,
    join_names,
    list_files,
    read_json,
    read_lines,
    release_folder,
)
from .common_language import dictionary_version, language, spelled_share
from .common_schema import LABELS, VECTORS, features
from .common_splits import hash_position, hash_split
from .common_tables import read_rows_at, read_table, require_posts

TABLE, IMAGES, FOLDER, VECTOR_FOLDER = "posts.csv", "images", "posts", "image_features"
COLUMNS = ("id", "title", "description", "tags", "anp", "image")
# A line of 3244ANPs.txt is "1. beautiful [sentiment: 1.00] [#images: 18,487,527]" or, indented by a tab,
# "beautiful_flower [sentiment: 1.77] [#imgs: 2,380,000]".
# The config whose label is the ANP, for every photo: it trains detectors of ANPs.
ANPS = {
    "description": "The label is the ANP, of all photos; 80/10/10.",
    "anps": True,
    "more_words_than": -1,
    "fewer_words_than": float("inf"),
    "shares": (("train", 0.8), ("validation", 0.1), ("test", 0.1)),
}
VSO_LINE = re.compile(r"(\t|(?P<number>\d+\. ))(?P<name>\S+) \[sentiment: (?P<score>[^\]]*)\] \[#im(age|g)s: [\d,]+\]")
MVSO_LINE = re.compile(r"(?P<number>)(?P<name>\s*\S.*),(?P<score>[^,]*)")


@dataclass
class AnpConfig(BuilderConfig):
    """Which posts a paper uses, and how it labels and splits them.

    Args:
        positive: ANP scores from this threshold on are positive.
        negative: ANP scores down to this threshold are negative.
        strict: Whether the thresholds themselves are excluded.
        anps: Whether the label is the ANP itself, instead of its sentiment. The classes are those that posts have.
        neutral: Whether scores between the thresholds are neutral; otherwise such posts are left out.
        text_of: Fields that form the text, joined by a full stop.
        words_of: Fields whose words are counted.
        more_words_than: Posts need more words than this,
        fewer_words_than: and fewer words than this.
        shares: Name and share of each split.
        language: One of the twelve ANP lists of MVSO.
        english: Whether posts whose counted fields are not in English are left out.
        spelled: The share of the words in the counted fields that an English dictionary must have, if given.
        balanced: Whether every class has as many posts as the smallest. The hashes of the ids decide which are kept.
        image_features: Whether the posts have files of vectors (`.npy`) in place of pictures.
    """

    positive: float = 0.0
    negative: float = 0.0
    strict: bool = True
    anps: bool = False
    neutral: bool = False
    text_of: tuple[str, ...] = ("description",)
    words_of: tuple[str, ...] = ("description",)
    more_words_than: int = 5
    fewer_words_than: float = 150
    shares: tuple[tuple[str, float], ...] = (("train", 0.8), ("test", 0.2))
    language: str = "english"
    english: bool = False
    spelled: float | None = None
    balanced: bool = False
    image_features: bool = False

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """Return the key of the cache, with the version of the dictionary, which decides what is spelled right."""
        if self.spelled is not None:
            if not isinstance(self.spelled, int | float) or not 0 <= self.spelled <= 1:
                raise ValueError(f"spelled={self.spelled}: give a share from 0 to 1")
            config_kwargs = config_kwargs | {"dictionary": dictionary_version()}
        return super().create_config_id(config_kwargs, custom_features)

    def keeps(self, cells: dict[str, str]) -> bool:
        """Return whether a post with these fields has the right number of words, the language and the spelling."""
        text = " ".join(cells[field] for field in self.words_of)
        if not self.more_words_than < len(text.split()) < self.fewer_words_than:
            return False
        if self.english and language(text) not in ("en", None):
            return False
        return self.spelled is None or spelled_share(text) >= self.spelled

    def label(self, anp: str, score: float) -> str | None:
        """Return the label of an ANP and its score, or None if its posts are left out."""
        if self.anps:
            return anp
        if score > self.positive or (score == self.positive and not self.strict):
            return "positive"
        if score < self.negative or (score == self.negative and not self.strict):
            return "negative"
        return "neutral" if self.neutral else None


def anp_name(name: str) -> str:
    """Return an ANP in lower case with underscores. Releases write it with blanks or underscores, in either case."""
    return "_".join(name.casefold().split())


def read_vso(path: Path) -> dict[str, float]:
    """Return {ANP: score} from `3244ANPs.txt`, which has a preface, and adjectives with their ANPs below them."""
    form = "'1. adjective [sentiment: 1.00] [#images: 9]' or, after a tab, the same for adjective_noun"
    lines = itertools.dropwhile(lambda numbered: not VSO_LINE.match(numbered[1]), read_lines(path))
    return _read_scores(path, lines, VSO_LINE, form)


def read_mvso(path: Path) -> dict[str, float]:
    """Return {ANP: score} from a list of MVSO, such as `english.csv`."""
    return _read_scores(path, read_lines(path), MVSO_LINE, "'adjective_noun,score'")


def _read_scores(path: Path, lines: Iterable[tuple[int, str]], pattern: re.Pattern, form: str) -> dict[str, float]:
    scores: dict[str, float] = {}
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        entry = pattern.fullmatch(line.rstrip())
        if entry is None:
            raise ValueError(f"{where}: {line!r} does not have the form {form}; correct it")
        try:
            score = float(entry["score"])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise ValueError(f"{where}: the score {entry['score'].strip()!r} is not a number; correct it")
        if not entry["number"]:  # Numbered lines are adjectives.
            name = anp_name(entry["name"])
            if name in scores:
                raise ValueError(f"{where}: an earlier line has a score of {name} too; remove one of them")
            scores[name] = score
    if not scores:
        raise ValueError(f"{path} holds no adjective-noun pairs; check that it is the right file")
    return scores


def photo_id(post_id: str) -> str:
    """Return the id of a photo: the id of its post, without the ANP and the slash that may precede it."""
    return post_id.rpartition("/")[2]


class AnpCorpus(Corpus):
    """Base class of VSO and MVSO.

    A folder holds the ANP list and posts that the user got from Flickr, in one of two forms:

    - `posts.csv` with the columns id, title, description, tags, anp, image, and the images in `images/`;
    - `posts/<anp>/<id>.jpg`, and beside each image `<id>.json` with title, description and tags.

    With the option `image_features`, NumPy files take the place of the images: `image_features/<name>.npy`, where the
    column `image` has `<name>.jpg`, or `posts/<anp>/<id>.npy`. Each holds the vector of a photo.

    It adds the columns `group` (the photo, which can be in several ANPs), `tags`, `anp`, and `anp_score`, and
    `image_features` if there are vectors.

    A subclass defines `anp_list`, which returns the name of the ANP list and the function that reads it.
    """

    DESCRIPTION = "Flickr photos with their texts, labelled by the adjective-noun pair that found them."
    REDISTRIBUTION = ("unclear", "each photo has the licence that its owner gave it on Flickr")

    def columns(self):
        if self.config.anps:  # the classes depend on the posts, which `_split_generators` reads
            return None
        return self._columns(LABELS if self.config.neutral else ["negative", "positive"])

    def _columns(self, label_names: list[str]) -> Features:
        text = Value("string")
        return features(
            label_names,
            group=text,
            tags=text,
            anp=text,
            anp_score=Value("float32"),
            **({"image_features": VECTORS} if self.config.image_features else {}),
        )

    def _split_generators(self, dl_manager):
        list_name, read_scores = self.anp_list()
        folder = release_folder(self.dataset_name, self.config.data_dir, [list_name])
        release_folder(self.dataset_name, self.config.data_dir, [TABLE, FOLDER], complete=False)
        scores, shares = read_scores(folder / list_name), dict(self.config.shares)
        splits, sources, image_names, notes = {split: [] for split in shares}, {}, set(), []
        unknown, between, image_folder = [], 0, None
        is_table = os.path.lexists(folder / TABLE)
        ending = ".npy" if self.config.image_features else ".jpg"
        posts = _table_posts(folder / TABLE) if is_table else _folder_posts(folder, notes, ending)
        for post_id, anp, source, image in posts:
            if anp not in scores:
                unknown.append(anp)
            elif (label := self.config.label(anp, scores[anp])) is None:
                between += 1
            else:
                # Copies of a photo in several ANPs stay in one split, because only the id of the photo counts.
                splits[hash_split(photo_id(post_id), shares)].append(post_id)
                sources[post_id] = (source, anp, scores[anp], label)
                image_names.add(f"{Path(image).stem}{ending}" if self.config.image_features else image)
        if unknown:
            anps = join_names(sorted(set(unknown)))
            notes.append(f"{len(unknown)} posts were left out, their ANPs are not in the list: {anps}")
        if between:
            notes.append(f"{between} posts were left out, the scores of their ANPs lie between the thresholds")
        if is_table:
            pictures = VECTOR_FOLDER if self.config.image_features else IMAGES
            image_folder, absent = find_images(folder / pictures, image_names)
            notes += absent
        context = {"folder": str(folder), "is_table": is_table, "image_folder": image_folder}
        if self.config.balanced:
            kept = self._balanced(sources, context, notes)
            splits = {split: [post_id for post_id in ids if post_id in kept] for split, ids in splits.items()}
        if self.config.anps:
            self.info.features = self._columns(sorted({label for *_, label in sources.values()}))
        counts = ", ".join(f"{split} {len(ids)}" for split, ids in splits.items())
        before = "" if self.config.balanced else " before those are left out whose texts do not suit"
        notes.append(f"number of posts{before}: {counts}")
        return self.generators(splits, sources, notes, **context)

    def _balanced(self, sources: dict[str, tuple], context: dict, notes: list[str]) -> set[str]:
        """Return the ids of the posts that are kept if every class is to have as many as the smallest.

        A post of a class is kept if the hash of its id is among the lowest, so that most posts stay when others come
        or go. The hash is another one than that of the splits.
        """
        ids: dict[str, list[str]] = {}
        for (post_id, (*_, label)), cells in self._read_texts(list(sources.items()), **context):
            if self.config.keeps(cells):
                ids.setdefault(label, []).append(post_id)
        smallest = min(map(len, ids.values()), default=0)
        notes.append(f"every class has {smallest} posts, as the smallest; before, they had {_counts(ids)}")
        ranked = (
            sorted(members, key=lambda post_id: hash_position(f"balanced/{post_id}")) for members in ids.values()
        )
        return {post_id for members in ranked for post_id in members[:smallest]}

    def _read_texts(
        self, posts: list[tuple[str, tuple]], folder: str, is_table: bool, image_folder: str | None
    ) -> Iterator[tuple[tuple[str, tuple], dict[str, str]]]:
        """Yield each post with its fields."""
        places = [place for _, (place, *_) in posts]
        if is_table:
            contents = read_rows_at(Path(folder, TABLE), places)
        else:
            contents = (_read_json_post(Path(folder, f"{place}.json")) for place in places)
        return zip(posts, contents, strict=True)

    def read_chunk(self, posts, folder, is_table, image_folder):
        config = self.config
        for (post_id, (place, anp, score, label)), cells in self._read_texts(posts, folder, is_table, image_folder):
            if not config.keeps(cells):
                continue
            yield {
                "id": post_id,
                "text": ". ".join(cells[field].strip() for field in config.text_of if cells[field].strip()),
                **self._pictures(cells, f"{folder}/{place}", is_table, image_folder),
                "label": label,
                "group": photo_id(post_id),
                "tags": cells["tags"].strip(),
                "anp": anp,
                "anp_score": float(np.float32(score)),  # a built corpus has its type, and a streamed one this value
            }

    def _pictures(self, cells: dict[str, str], place: str, is_table: bool, image_folder: str | None) -> dict:
        """Return the columns of a post that hold its image, or the vector that takes the image's place."""
        name = cells["image"].strip() if is_table else ""
        if not self.config.image_features:
            return {"images": image_paths(image_folder, [name]) if is_table else [f"{place}.jpg"]}
        paths = image_paths(image_folder, [f"{Path(name).stem}.npy"]) if is_table else [f"{place}.npy"]
        return {"images": [], "image_features": [read_vector(Path(path)) for path in paths if Path(path).exists()]}


def read_vector(path: Path) -> list[float]:
    """Return the vector that a NumPy file holds.

    Raises:
        ValueError: If it holds something else.
    """
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: this is not a NumPy file that can be read: {error}") from error
    if vector.ndim != 1 or vector.dtype.kind != "f" or not np.isfinite(vector).all():
        raise ValueError(f"{path} holds {vector.dtype} of shape {vector.shape}; write one vector of finite floats")
    return vector.astype(np.float32).tolist()


def _counts(ids: dict[str, list[str]]) -> str:
    return ", ".join(f"{label} {len(members)}" for label, members in sorted(ids.items()))


def _table_posts(path: Path) -> Iterator[tuple[str, str, int, str]]:
    """Yield id, ANP, offset and image name of every row of the table."""
    ids: set[str] = set()
    for offset, line, cells in read_table(path, COLUMNS):
        where, post_id = f"{path}, line {line}", cells["id"].strip()
        if not post_id:
            raise ValueError(f"{where}: the id is empty; give the post an id")
        if post_id in ids:
            raise ValueError(f"{where}: an earlier row has the id {post_id} too; give each post an id of its own")
        ids.add(post_id)
        image = check_file_name(cells["image"].strip(), where)
        yield post_id, sys.intern(anp_name(cells["anp"])), offset, image
    require_posts(path, len(ids), is_split=False)


def _folder_posts(folder: Path, notes: list[str], ending: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield id, ANP, path without suffix and image name of every post in the folders of the ANPs."""
    without_text = without_image = 0
    entries = sorted(list_files(folder / FOLDER))
    others = [name for name in entries if name.startswith(".") or not (folder / FOLDER / name).is_dir()]
    if others:
        notes.append(f"{len(others)} entries of {FOLDER} are not folders of an ANP: {join_names(others)}")
    for anp in (name for name in entries if name not in others):
        # Files with a dot, such as ._1.jpg, are those of the system that copied the folder.
        names = [name for name in list_files(folder / FOLDER / anp) if not name.startswith(".")]
        texts, images = ({name[: -len(end)] for name in names if name.endswith(end)} for end in (".json", ending))
        without_text += len(images - texts)
        without_image += len(texts - images)
        for name in sorted(texts):
            yield f"{anp}/{name}", anp_name(anp), f"{FOLDER}/{anp}/{name}", f"{anp}/{name}{ending}"
    one = {".jpg": "an image", ".npy": "a vector"}[ending]
    if without_text:
        notes.append(f"{without_text} posts were left out, they have {one} without a .json file")
    if without_image:
        notes.append(f"{without_image} posts have a .json file without {one}")


def _read_json_post(path: Path) -> dict[str, str]:
    post = read_json(path)
    if not isinstance(post, dict):
        raise ValueError(f"{path}: a post is a JSON object with title, description and tags; get the file again")
    cells = {field: post.get(field) or "" for field in ("title", "description", "tags")}
    return {field: " ".join(map(str, v)) if isinstance(v, list) else str(v) for field, v in cells.items()}
