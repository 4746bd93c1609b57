"""MVSA-Multiple, which has three annotators."""

import pytest
from standins import draw

from mmsent.dataset_scripts.common_corpus import missing_report
from mmsent.dataset_scripts.common_splits import read_splits
from mmsent.dataset_scripts.mvsa.make_random_split import random_split
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS, majority, read_labels

HEADER = "ID\ttext,image\ttext,image\ttext,image"
P, U, N = "positive", "neutral", "negative"


@pytest.fixture(scope="module")
def splits():
    return read_splits(SPLITS / "mvsa_multiple" / "clmlf")


@pytest.fixture
def write(tmp_path):
    """Write a release from {id: (text label, image label) of each of the three annotators}."""

    def write(annotations: dict, header: str = HEADER, posts: bool = True):
        folder = tmp_path / "MVSA"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        rows = [f"{i}\t" + "\t".join(map(",".join, pairs)) for i, pairs in annotations.items()]
        (folder / "labelResultAll.txt").write_text("\n".join([header, *rows]) + "\n")
        for number, post_id in enumerate(annotations if posts else ()):
            (folder / "data" / f"{post_id}.txt").write_text(f"text of {post_id}")
            draw(folder / "data" / f"{post_id}.jpg", number)
        return folder

    return write


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((P, P, P), P), ((P, N, P), P), ((N, U, N), N), ((U, P, U), U), ((P, U, N), None), ((N,), N)],
)
def test_majority(labels, expected):
    assert majority(list(labels)) == expected


def test_votes_then_the_pair_rule(write, splits, load):
    ids = splits["train"][:4]
    annotations = {
        ids[0]: [(P, U), (P, U), (N, P)],  # positive, neutral -> positive
        ids[1]: [(U, N), (N, N), (U, P)],  # neutral, negative -> negative
        ids[2]: [(N, N), (N, U), (P, N)],  # negative, negative
        ids[3]: [(U, U), (U, U), (P, P)],  # neutral, neutral
    }
    removed = {"999991": [(P, N), (P, N), (P, N)], "999992": [(P, P), (U, P), (N, P)]}
    posts = load("mvsa_multiple", data_dir=str(write(annotations | removed)), split="train")
    assert posts["id"][:] == ids
    assert posts["text_label"][:] == [2, 1, 0, 1]
    assert posts["image_label"][:] == [1, 0, 0, 1]
    assert posts["label"][:] == [2, 0, 0, 1]
    assert posts[0]["images"][0].size == (24, 18)


def test_no_majority_of_a_listed_post(write, splits, load):
    folder = write({splits["train"][0]: [(P, P), (U, P), (N, P)]})
    with pytest.raises(ValueError, match=rf"have 1 such posts \({splits['train'][0]}\); this is not the released"):
        load("mvsa_multiple", data_dir=str(folder))


def test_label_file_of_the_other_release(write, splits, load):
    annotations = {splits["train"][0]: [(P, P), (P, P), (P, P)]}
    with pytest.raises(ValueError, match="line 1: the header must be 'ID.ttext,image.ttext,image.ttext,image'"):
        load("mvsa_multiple", data_dir=str(write(annotations, header="ID\ttext,image")))
    with pytest.raises(ValueError, match="line 1: the header must be 'ID.ttext,image', .*check the release"):
        load("mvsa_single", data_dir=str(write(annotations)))


def test_a_row_of_two_annotators(write, splits):
    folder = write({splits["train"][0]: [(P, P), (P, P)]})
    with pytest.raises(ValueError, match="line 2: a row is 'ID<tab>text label,image label<tab>text label"):
        read_labels(folder / "labelResultAll.txt", annotators=3)


@pytest.mark.parametrize("wrong", [False, True])
def test_published_counts(write, splits, load, wrong):
    ids = [post_id for split in splits.values() for post_id in split]
    words = [P] * 11318 + [U] * 4408 + [N] * 1298
    words[0] = N if wrong else words[0]
    folder = write({i: [(word, word)] * 3 for i, word in zip(ids, words, strict=True)}, posts=False)
    (folder / "data" / f"{ids[0]}.txt").write_text("a")
    draw(folder / "data" / f"{ids[0]}.jpg", 0)
    if wrong:
        with pytest.raises(ValueError, match=r"'negative': 1299.*not the published ones.*'positive': 11318"):
            load("mvsa_multiple", data_dir=str(folder))
    else:
        loaded = load("mvsa_multiple", data_dir=str(folder))
        assert loaded["train"]["label"][:] == [2]
        assert {split: len(ids) for split, ids in missing_report(loaded).items()} == {
            "train": 13_623, "validation": 1_700, "test": 1_700
        }  # fmt: skip


def test_the_three_broken_images_are_in_no_split(write, splits, load):
    """The images 3151, 3910 and 5995 are broken. Their posts do not stop the other posts."""
    broken = ["3151", "3910", "5995"]
    agreed = [(P, P)] * 3
    folder = write({splits["test"][0]: agreed} | dict.fromkeys(broken, agreed))
    for post_id in broken:
        (folder / "data" / f"{post_id}.jpg").write_bytes(b"")
    for scheme in ("clmlf", "random"):
        loaded = load("mvsa_multiple", scheme, data_dir=str(folder))
        assert [row["id"] for posts in loaded.values() for row in posts] == [splits["test"][0]]
        listed = {post_id for ids in read_splits(SPLITS / "mvsa_multiple" / scheme).values() for post_id in ids}
        assert not listed & set(broken)


@pytest.mark.parametrize(("scheme", "sizes"), [("clmlf", [13_624, 1_700, 1_700]), ("random", [13_620, 1_702, 1_702])])
def test_split_files(scheme, sizes, splits):
    ids = read_splits(SPLITS / "mvsa_multiple" / scheme)
    assert [len(split_ids) for split_ids in ids.values()] == sizes
    listed = [post_id for split_ids in ids.values() for post_id in split_ids]
    assert len(set(listed)) == 17_024
    assert set(listed) == {post_id for split_ids in splits.values() for post_id in split_ids}


def test_random_split_is_the_committed_one(splits):
    assert random_split(i for ids in splits.values() for i in ids) == read_splits(SPLITS / "mvsa_multiple" / "random")


def test_clmlf_split_is_that_of_the_real_copy(shared_data, splits):
    folder = shared_data("mvsa_multiple") / "splits" / "clmlf"
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        assert (folder / f"{name}.txt").read_text().split() == splits[split]
