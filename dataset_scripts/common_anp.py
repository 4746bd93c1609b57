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
from datasets import BuilderConfig, Value

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
from .common_schema import LABELS, features
from .common_splits import hash_split
from .common_tables import read_rows_at, read_table, require_posts

TABLE, IMAGES, FOLDER = "posts.csv", "images", "posts"
COLUMNS = ("id", "title", "description", "tags", "anp", "image")
# A line of 3244ANPs.txt is "1. beautiful [sentiment: 1.00] [#images: 18,487,527]" or, indented by a tab,
# "beautiful_flower [sentiment: 1.77] [#imgs: 2,380,000]".
VSO_LINE = re.compile(r"(\t|(?P<number>\d+\. ))(?P<name>\S+) \[sentiment: (?P<score>[^\]]*)\] \[#im(age|g)s: [\d,]+\]")
MVSO_LINE = re.compile(r"(?P<number>)(?P<name>\s*\S.*),(?P<score>[^,]*)")


@dataclass
class AnpConfig(BuilderConfig):
    """Which posts a paper uses, and how it labels and splits them.

    Args:
        positive: ANP scores from this threshold on are positive.
        negative: ANP scores down to this threshold are negative.
        strict: Whether the thresholds themselves are excluded.
        neutral: Whether scores between the thresholds are neutral; otherwise such posts are left out.
        text_of: Fields that form the text, joined by a full stop.
        words_of: Fields whose words are counted.
        more_words_than: Posts need more words than this,
        fewer_words_than: and fewer words than this.
        shares: Name and share of each split.
        language: One of the twelve ANP lists of MVSO.
    """

    positive: float = 0.0
    negative: float = 0.0
    strict: bool = True
    neutral: bool = False
    text_of: tuple[str, ...] = ("description",)
    words_of: tuple[str, ...] = ("description",)
    more_words_than: int = 5
    fewer_words_than: float = 150
    shares: tuple[tuple[str, float], ...] = (("train", 0.8), ("test", 0.2))
    language: str = "english"

    def label(self, score: float) -> str | None:
        """Return the label of an ANP's score, or None if its posts are left out."""
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

    It adds the columns `group` (the photo, which can be in several ANPs), `tags`, `anp`, and `anp_score`.

    A subclass defines `anp_list`, which returns the name of the ANP list and the function that reads it.
    """

    DESCRIPTION = "Flickr photos with their texts, labelled by the adjective-noun pair that found them."
    REDISTRIBUTION = ("unclear", "each photo has the licence that its owner gave it on Flickr")

    def columns(self):
        text = Value("string")
        return features(
            LABELS if self.config.neutral else ["negative", "positive"],
            group=text,
            tags=text,
            anp=text,
            anp_score=Value("float32"),
        )

    def _split_generators(self, dl_manager):
        list_name, read_scores = self.anp_list()
        folder = release_folder(self.dataset_name, self.config.data_dir, [list_name])
        release_folder(self.dataset_name, self.config.data_dir, [TABLE, FOLDER], complete=False)
        scores, shares = read_scores(folder / list_name), dict(self.config.shares)
        splits, sources, image_names, notes = {split: [] for split in shares}, {}, set(), []
        unknown, between, image_folder = [], 0, None
        is_table = os.path.lexists(folder / TABLE)
        for post_id, anp, source, image in _table_posts(folder / TABLE) if is_table else _folder_posts(folder, notes):
            if anp not in scores:
                unknown.append(anp)
            elif (label := self.config.label(scores[anp])) is None:
                between += 1
            else:
                # Copies of a photo in several ANPs stay in one split, because only the id of the photo counts.
                splits[hash_split(photo_id(post_id), shares)].append(post_id)
                sources[post_id] = (source, anp, scores[anp], label)
                image_names.add(image)
        if unknown:
            anps = join_names(sorted(set(unknown)))
            notes.append(f"{len(unknown)} posts were left out, their ANPs are not in the list: {anps}")
        if between:
            notes.append(f"{between} posts were left out, the scores of their ANPs lie between the thresholds")
        if is_table:
            image_folder, absent = find_images(folder / IMAGES, image_names)
            notes += absent
        counts = ", ".join(f"{split} {len(ids)}" for split, ids in splits.items())
        notes.append(f"number of posts before those with too few or too many words are left out: {counts}")
        context = {"folder": str(folder), "is_table": is_table, "image_folder": image_folder}
        return self.generators(splits, sources, notes, **context)

    def read_chunk(self, posts, folder, is_table, image_folder):
        config, places = self.config, [place for _, (place, *_) in posts]
        if is_table:
            contents = read_rows_at(Path(folder, TABLE), places)
        else:
            contents = (_read_json_post(Path(folder, f"{place}.json")) for place in places)
        for (post_id, (place, anp, score, label)), cells in zip(posts, contents, strict=True):
            words = sum(len(cells[field].split()) for field in config.words_of)
            if not config.more_words_than < words < config.fewer_words_than:
                continue
            images = image_paths(image_folder, [cells["image"].strip()]) if is_table else [f"{folder}/{place}.jpg"]
            yield {
                "id": post_id,
                "text": ". ".join(cells[field].strip() for field in config.text_of if cells[field].strip()),
                "images": images,
                "label": label,
                "group": photo_id(post_id),
                "tags": cells["tags"].strip(),
                "anp": anp,
                "anp_score": float(np.float32(score)),  # a built corpus has its type, and a streamed one this value
            }


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


def _folder_posts(folder: Path, notes: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield id, ANP, path without suffix and image name of every post in the folders of the ANPs."""
    without_text = without_image = 0
    entries = sorted(list_files(folder / FOLDER))
    others = [name for name in entries if name.startswith(".") or not (folder / FOLDER / name).is_dir()]
    if others:
        notes.append(f"{len(others)} entries of {FOLDER} are not folders of an ANP: {join_names(others)}")
    for anp in (name for name in entries if name not in others):
        # Files with a dot, such as ._1.jpg, are those of the system that copied the folder.
        names = [name for name in list_files(folder / FOLDER / anp) if not name.startswith(".")]
        texts, images = ({name[: -len(end)] for name in names if name.endswith(end)} for end in (".json", ".jpg"))
        without_text += len(images - texts)
        without_image += len(texts - images)
        for name in sorted(texts):
            yield f"{anp}/{name}", anp_name(anp), f"{FOLDER}/{anp}/{name}", f"{anp}/{name}.jpg"
    if without_text:
        notes.append(f"{without_text} posts were left out, they have an image without a .json file")
    if without_image:
        notes.append(f"{without_image} posts have a .json file without an image")


def _read_json_post(path: Path) -> dict[str, str]:
    post = read_json(path)
    if not isinstance(post, dict):
        raise ValueError(f"{path}: a post is a JSON object with title, description and tags; get the file again")
    cells = {field: post.get(field) or "" for field in ("title", "description", "tags")}
    return {field: " ".join(map(str, v)) if isinstance(v, list) else str(v) for field, v in cells.items()}
