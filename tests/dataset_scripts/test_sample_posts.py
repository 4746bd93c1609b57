"""The generated corpus."""

import hashlib
import io
import itertools
import re
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest
from datasets import load_dataset

from mmsent.dataset_scripts.common_corpus import missing_report, undecoded
from mmsent.dataset_scripts.common_schema import LABELS, features
from mmsent.dataset_scripts.common_splits import read_splits
from mmsent.dataset_scripts.sample_posts import sample_posts
from mmsent.dataset_scripts.sample_posts.drawing import COLUMNS, FACES, SHIRTS
from mmsent.dataset_scripts.sample_posts.posts import split_ids

SPLITS = sample_posts.SPLITS
KINDS = ["text", "image", "both"]
# A hash of the texts and pixels of the validation split. It changes only when the corpus is changed on purpose.
FINGERPRINT = "6a9a8097163a731a40f8e5738429b37bf62e33605b3727b3019c879054e6c94b"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return load_dataset("sample_posts", cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def rows(built):
    """Return {split: rows}; each row has its image as PNG bytes under "png"."""
    return {
        split: [row | {"png": row["images"][0]["bytes"]} for row in posts] for split, posts in undecoded(built).items()
    }


@pytest.fixture(scope="session")
def cells(rows):
    """Return {cell: [(split, row)]}."""
    cells = defaultdict(list)
    for split, posts in rows.items():
        for row in posts:
            cells[row["id"].rpartition("-")[0]].append((split, row))
    return cells


def pixels(png):
    image = PIL.Image.open(io.BytesIO(png))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128))
    return np.asarray(image)


def test_columns_and_sizes(built):
    assert built.num_rows == {"train": 1080, "validation": 270, "test": 270}
    assert built["train"].features == features(decided_by=datasets.ClassLabel(names=KINDS))
    assert missing_report(built) == {}
    assert built["train"][0]["images"][0].size == (128, 128)


def test_as_many_posts_of_each_kind_and_label(rows):
    for posts in rows.values():
        counts = Counter((row["decided_by"], row["label"]) for row in posts)
        assert counts == dict.fromkeys(itertools.product(range(3), range(3)), len(posts) / 9)


def test_split_files_are_the_generated_ones(rows):
    assert read_splits(SPLITS) == split_ids()
    assert {split: [row["id"] for row in posts] for split, posts in rows.items()} == split_ids()


@pytest.mark.parametrize("modality", ["text", "png"])
def test_one_modality_gives_at_most_five_ninths(rows, modality):
    for posts in rows.values():
        labels = defaultdict(Counter)
        for row in posts:
            labels[row[modality]][row["label"]] += 1
        best = sum(max(counts.values()) for counts in labels.values())  # the best lookup table
        assert Fraction(best, len(posts)) == Fraction(5, 9)


def test_cells_share_nothing(cells):
    for modality in ("text", "png"):
        owner = {}
        for cell, posts in cells.items():
            for _, row in posts:
                assert owner.setdefault(row[modality], cell) == cell
    for posts in cells.values():
        assert len({split for split, _ in posts}) == 1
        assert len({row["aspect"] for _, row in posts}) == 1  # The aspect is therefore never decisive.


def test_cells_of_text_and_image(cells):
    for kind, constant, varied in (("text", "png", "text"), ("image", "text", "png")):
        cells_of_kind = [[row for _, row in posts] for cell, posts in cells.items() if cell.startswith(kind)]
        assert len(cells_of_kind) == 180
        for posts in cells_of_kind:
            assert sorted(row["label"] for row in posts) == [0, 1, 2]
            assert len({row[constant] for row in posts}) == 1
            assert len({row[varied] for row in posts}) == 3


def test_cells_of_both_are_latin_squares(cells):
    squares = set()
    cells_of_both = [[row for _, row in posts] for cell, posts in cells.items() if cell.startswith("both")]
    assert len(cells_of_both) == 60
    for posts in cells_of_both:
        moods = {(re.search("red|green|blue", row["text"])[0], row["png"]): row["label"] for row in posts}
        images = list(dict.fromkeys(row["png"] for row in posts))
        assert len(moods) == 9
        square = [[moods[shirt, image] for shirt in SHIRTS] for image in images]
        assert all(sorted(line) == [0, 1, 2] for line in [*square, *zip(*square, strict=True)])
        squares.add(str(square))
    assert len(squares) == 12  # There are no others.


def test_labels_of_text_and_image(rows):
    for row in itertools.chain(*rows.values()):
        kind = KINDS[row["decided_by"]]
        assert row["id"].startswith(kind)
        assert row["text_label"] == (row["label"] if kind == "text" else 1)
        assert row["image_label"] == (row["label"] if kind == "image" else 1)


def test_words(rows):
    def words(split):
        return {word for row in rows[split] for word in re.findall(r"\w+", row["text"].lower())}

    assert words("validation") | words("test") <= words("train")
    assert len(words("train")) <= 150
    assert all(row["aspect"] in re.findall(r"\w+", row["text"]) for row in rows["train"])


def people_in(png):
    """Return {shirt: mood} as the image shows it, from the prevailing colours of two regions of each column."""
    shown = {}
    for column in COLUMNS:
        region_of_person = pixels(png)[:, column].astype(float)

        def nearest(region, colours):
            palette = np.array(list(colours.values()), dtype=float)
            palette /= np.linalg.norm(palette, axis=1, keepdims=True)
            hues = region.reshape(-1, 3) / np.linalg.norm(region.reshape(-1, 3), axis=1, keepdims=True)
            return list(colours)[np.bincount((hues @ palette.T).argmax(1), minlength=3).argmax()]

        shirt = nearest(region_of_person[110:, 14:28], SHIRTS)
        shown[shirt] = nearest(region_of_person[46:58, 14:28], FACES)
    return shown


def test_images_agree_with_the_labels(rows):
    sides = Counter()
    for row in rows["validation"]:
        kind, label = KINDS[row["decided_by"]], LABELS[row["label"]]
        if kind == "image":
            assert people_in(row["png"]) == dict.fromkeys(SHIRTS, label)
        elif kind == "both":
            shown = people_in(row["png"])
            assert sorted(shown.values()) == LABELS
            assert shown[re.search("red|green|blue", row["text"])[0]] == label
            sides["".join(shown)] += 1
    assert len(sides) == 6  # The shirts occur in every order.


def test_the_corpus_is_the_same_everywhere(rows):
    digest = hashlib.sha256()
    for row in rows["validation"]:
        digest.update(f"{row['id']} {row['text']} {row['aspect']} {row['label']}\n".encode())
        digest.update(pixels(row["png"]).tobytes())
    assert digest.hexdigest() == FINGERPRINT


def test_working_directory_does_not_matter(built, tmp_path, monkeypatch):
    (tmp_path / "sample_posts").mkdir()
    (tmp_path / "sample_posts" / "train.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    cache_dir = str(Path(built["test"].cache_files[0]["filename"]).parents[4])
    again = load_dataset("sample_posts", split="test", cache_dir=cache_dir)
    assert again.cache_files == built["test"].cache_files
