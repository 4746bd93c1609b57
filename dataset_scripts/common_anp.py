"""Flickr photos found by adjective-noun pairs (ANPs), whose sentiment labels the photo: what VSO and MVSO share."""

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, DatasetInfo, Value
from datasets.builder import Key

from .common_corpus import LABELS, Corpus, features, hash_split
from .common_files import (
    check_file_name,
    decode_text,
    find_pictures,
    list_files,
    picture_paths,
    read_json,
    release_folder,
)
from .common_tables import read_rows_at, read_table

TABLE, IMAGES, FOLDER = "posts.csv", "images", "posts"
COLUMNS = ("id", "title", "description", "tags", "anp", "image")
# as in 3244ANPs.txt: "1. beautiful [sentiment: 1.00] [#images: 18,487,527]", below it, indented by a tab,
# "beautiful_flower [sentiment: 1.77] [#imgs: 2,380,000]"
VSO_LINE = re.compile(r"(?P<indent>\t|\d+\. )(?P<name>\S+) \[sentiment: (?P<score>[^\]]*)\] \[#im(?:age|g)s: [\d,]+\]")


@dataclass
class AnpConfig(BuilderConfig):
    """Which posts a paper keeps, and how it labels and splits them.

    Args:
        positive: ANP scores from here on are positive; above it, where `strict`.
        negative: ANP scores down to here are negative; below it, where `strict`.
        strict: whether the two thresholds themselves are outside.
        neutral: what lies between is neutral; otherwise such posts are left out.
        text_of: the fields that make the text, joined by a full stop.
        words_of: the fields whose words are counted.
        more_words_than: posts need more words than this.
        fewer_words_than: and fewer than this.
        shares: of each split.
        language: of MVSO's twelve ANP lists.
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

    @property
    def label_names(self) -> list[str]:
        return LABELS if self.neutral else ["negative", "positive"]

    def label(self, score: float) -> str | None:
        """The label of an ANP's score; None where its posts are left out."""
        if score > self.positive or (score == self.positive and not self.strict):
            return "positive"
        if score < self.negative or (score == self.negative and not self.strict):
            return "negative"
        return "neutral" if self.neutral else None


def anp_name(name: str) -> str:
    """ANPs are written with a blank or an underscore, in either case."""
    return "_".join(name.casefold().split())


def read_vso(path: Path) -> dict[str, float]:
    """{ANP: score} of `3244ANPs.txt`, the second of its two levels.

    Raises:
        ValueError: a line that is neither an adjective nor an ANP, or one whose score is no number; names the line.
    """
    lines = decode_text(path.read_bytes()).splitlines()
    start = next((number for number, line in enumerate(lines) if VSO_LINE.match(line)), len(lines))  # after a preface
    scores: dict[str, float] = {}
    for number, line in enumerate(lines[start:], start=start + 1):
        if not line.strip():
            continue
        entry = VSO_LINE.fullmatch(line.rstrip())
        where = f"{path}, line {number}"
        if entry is None:
            form = (
                "'1. adjective [sentiment: 1.00] [#images: 9]', or below it, after a tab, the same for adjective_noun"
            )
            raise ValueError(f"{where}: {line!r} has not the form {form}; correct it")
        score = _score(entry["score"], where)
        if entry["indent"] == "\t":
            _add(scores, entry["name"], score, where)
    return _not_empty(scores, path)


def read_mvso(path: Path) -> dict[str, float]:
    """{ANP: score} of one of MVSO's lists, such as `english.csv`: ANP, comma, score.

    Raises:
        ValueError: a line of another form, a score that is no number, an ANP twice; names the line.
    """
    scores: dict[str, float] = {}
    for number, line in enumerate(decode_text(path.read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        name, comma, score = line.rpartition(",")
        where = f"{path}, line {number}"
        if not comma or not name.strip():
            raise ValueError(f"{where}: a line is 'adjective_noun,score', found {line!r}")
        _add(scores, name, _score(score, where), where)
    return _not_empty(scores, path)


def _score(word: str, where: str) -> float:
    try:
        score = float(word)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{where}: the score {word.strip()!r} is no number; correct it")
    return score


def _add(scores: dict[str, float], name: str, score: float, where: str) -> None:
    name = anp_name(name)
    if name in scores:
        raise ValueError(f"{where}: {name} has a score already, further up; remove one of the two")
    scores[name] = score


def _not_empty(scores: dict[str, float], path: Path) -> dict[str, float]:
    if not scores:
        raise ValueError(f"{path} holds no adjective-noun pairs; is it the right file?")
    return scores


def photo(post_id: str) -> str:
    """The photo of a post: an id may say before it, and a slash, in which ANP it was found."""
    return post_id.rpartition("/")[2]


class AnpCorpus(Corpus):
    """Base of VSO and MVSO. A folder holds the ANP list and the posts that one has got from Flickr, either

    - `posts.csv` with the columns id, title, description, tags, anp, image, and the pictures in `images/`; or
    - `posts/<anp>/<id>.jpg`, beside each picture `<id>.json` with title, description and tags.

    More columns: `group`, the photo (it may be in several ANPs), `anp` and its score, `anp_score`.

    A subclass says with `anp_list` the name of the ANP list in the release, and which function reads it.

    Raises:
        ValueError: an id twice, JSON that is none, and what `read_vso` or `read_mvso`, `read_table`, `list_files` and
            `check_file_name` raise.
    """

    REDISTRIBUTION = ("unclear", "each photo has the licence that its owner gave it on Flickr")

    def _info(self):
        text = Value("string")
        return DatasetInfo(
            description="Flickr photos with their texts, labelled by the adjective-noun pair that found them.",
            homepage=self.HOMEPAGE,
            features=features(self.config.label_names, group=text, tags=text, anp=text, anp_score=Value("float32")),
        )

    def _split_generators(self, dl_manager):
        list_name, read_scores = self.anp_list()
        folder = release_folder(self.dataset_name, self.config.data_dir, [list_name])
        release_folder(self.dataset_name, self.config.data_dir, [TABLE, FOLDER], complete=False)
        scores = read_scores(folder / list_name)
        shares = dict(self.config.shares)
        splits, posts, named, notes = {split: [] for split in shares}, {}, set(), []
        unknown, between, pictures = [], 0, None
        is_table = (folder / TABLE).exists()
        for post_id, anp, source, picture in _rows(folder / TABLE) if is_table else _files(folder / FOLDER, notes):
            if post_id in posts:
                raise ValueError(f"{folder / TABLE}: id {post_id} is there twice; give each post an id of its own")
            if anp not in scores:
                unknown.append(anp)
            elif (label := self.config.label(scores[anp])) is None:
                between += 1
            else:
                # Copies of a photo under several ANPs stay together: only the photo's own id counts.
                splits[hash_split(photo(post_id), shares)].append(post_id)
                posts[post_id] = (source, anp, scores[anp], label)
                named.add(picture)
        if unknown:
            some = ", ".join(sorted(set(unknown))[:10])
            notes.append(f"{len(unknown)} posts were left out, their ANPs are not in the list: {some}")
        if between:
            notes.append(f"{between} posts were left out, the scores of their ANPs lie between the thresholds")
        if is_table:
            pictures, absent = find_pictures(folder / IMAGES, named)
            notes += absent
        counts = ", ".join(f"{split} {len(ids)}" for split, ids in splits.items())
        notes.append(f"posts before those with too few or too many words are left out: {counts}")
        return self.generators(splits, posts, notes, folder=str(folder), is_table=is_table, pictures=pictures)

    def _generate_examples(self, chunks, folder, is_table, pictures):
        config = self.config
        for shard, posts in enumerate(chunks):
            sources = [source for _, (source, *_) in posts]
            if is_table:
                read = read_rows_at(Path(folder, TABLE), sources)
            else:
                read = (_read_json(Path(folder, f"{source}.json")) for source in sources)
            for number, ((post_id, (source, anp, score, label)), cells) in enumerate(zip(posts, read, strict=True)):
                words = sum(len(cells[field].split()) for field in config.words_of)
                if not config.more_words_than < words < config.fewer_words_than:
                    continue
                images = picture_paths(pictures, [cells["image"].strip()]) if is_table else [f"{folder}/{source}.jpg"]
                post = {
                    "id": post_id,
                    "text": ". ".join(cells[field].strip() for field in config.text_of if cells[field].strip()),
                    "images": images,
                    "aspect": None,
                    "label": label,
                    "text_label": None,
                    "image_label": None,
                    "group": photo(post_id),
                    "tags": cells["tags"].strip(),
                    "anp": anp,
                    "anp_score": score,
                }
                yield Key(shard, number), post


def _rows(path: Path) -> Iterator[tuple[str, str, int, str]]:
    """(id, ANP, offset, picture) of every row of the table."""
    for offset, line, cells in read_table(path, COLUMNS):
        where = f"{path}, line {line}"
        if not cells["id"].strip():
            raise ValueError(f"{where}: no id; give each post one")
        picture = check_file_name(cells["image"].strip(), where)
        yield cells["id"].strip(), sys.intern(anp_name(cells["anp"])), offset, picture


def _files(folder: Path, notes: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """(id, ANP, path without ending, picture) of every post in the folders of the ANPs."""
    without_text = without_picture = 0
    for anp in sorted(list_files(folder)):
        names = list_files(folder / anp)
        texts, pictures = ({name[: -len(end)] for name in names if name.endswith(end)} for end in (".json", ".jpg"))
        without_text += len(pictures - texts)
        without_picture += len(texts - pictures)
        for name in sorted(texts):
            yield f"{anp}/{name}", anp_name(anp), f"{folder.name}/{anp}/{name}", f"{anp}/{name}.jpg"
    if without_text:
        notes.append(f"{without_text} posts were left out, they have a picture and no .json beside it")
    if without_picture:
        notes.append(f"{without_picture} posts have no picture beside their .json")


def _read_json(path: Path) -> dict[str, str]:
    post = read_json(path)
    if not isinstance(post, dict):
        raise ValueError(f"{path}: a post is a JSON object with title, description and tags; get it again")
    cells = {}
    for field in ("title", "description", "tags"):
        value = post.get(field) or ""
        cells[field] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return cells
