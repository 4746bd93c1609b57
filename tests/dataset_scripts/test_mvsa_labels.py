"""The label files and split files of both releases of MVSA."""

import itertools

import pytest
from standins import draw

from mmsent.dataset_scripts.common_corpus import missing_report
from mmsent.dataset_scripts.common_splits import read_splits
from mmsent.dataset_scripts.mvsa.make_random_split import random_split
from mmsent.dataset_scripts.mvsa.mvsa import ANNOTATORS, COUNTS, SPLITS, joint_label, majority

P, U, N = "positive", "neutral", "negative"


def listed_ids(name: str, scheme: str = "clmlf") -> list[str]:
    return [post_id for ids in read_splits(SPLITS / name / scheme).values() for post_id in ids]


@pytest.fixture
def write(tmp_path):
    """Write MVSA-Multiple from {id: (text label, image label) of each of the three annotators}."""

    def write(annotations: dict, annotators: int = 3):
        folder = tmp_path / "MVSA"
        (folder / "data").mkdir(parents=True)
        rows = [f"{i}\t" + "\t".join(map(",".join, pairs)) for i, pairs in annotations.items()]
        (folder / "labelResultAll.txt").write_text("\n".join(["ID" + "\ttext,image" * annotators, *rows]) + "\n")
        for number, post_id in enumerate(list(annotations)[:10]):
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


def test_joint_label():
    expected = {(P, P): P, (U, U): U, (N, N): N, (P, U): P, (N, U): N, (P, N): None}
    for pair in itertools.product([P, U, N], repeat=2):
        assert joint_label(*pair) == expected.get(pair, expected.get(pair[::-1]))
    assert joint_label(None, P) is joint_label(P, None) is None


def test_labels_of_three_annotators(write, load):
    ids = listed_ids("mvsa_multiple")[:4]
    annotations = [
        [(P, U), (P, U), (N, P)],  # positive, neutral -> positive
        [(U, N), (N, N), (U, P)],  # neutral, negative -> negative
        [(N, N), (N, U), (P, N)],  # negative, negative -> negative
        [(U, U), (U, U), (P, P)],  # neutral, neutral -> neutral
    ]
    removed = {"999991": [(P, N), (P, N), (P, N)], "999992": [(P, P), (U, P), (N, P)]}
    posts = load(
        "mvsa_multiple", data_dir=str(write(dict(zip(ids, annotations, strict=True)) | removed)), split="train"
    )
    assert posts["id"][:] == ids
    assert posts["text_label"][:] == [2, 1, 0, 1]
    assert posts["image_label"][:] == [1, 0, 0, 1]
    assert posts["label"][:] == [2, 0, 0, 1]
    assert posts[0]["images"][0].size == (24, 18)


@pytest.mark.parametrize("name", ANNOTATORS)
@pytest.mark.parametrize("wrong", [False, True])
def test_published_counts(write, load, name, wrong):
    words = [word for word, count in COUNTS[name].items() for _ in range(count)]
    words[0] = N if wrong else P
    pairs = [[(word, word)] * ANNOTATORS[name] for word in words]
    folder = write(dict(zip(listed_ids(name), pairs, strict=True)), ANNOTATORS[name])
    if wrong:
        with pytest.raises(ValueError, match=r"'negative': 1[23]\d9.*not the published ones.*'positive': "):
            load(name, data_dir=str(folder))
    else:
        corpus = load(name, data_dir=str(folder))
        assert corpus["train"]["label"][:] == [2] * 10
        assert sum(map(len, missing_report(corpus).values())) == len(words) - 10


@pytest.mark.parametrize("pairs", [[(P, N)] * 3, [(P, P), (U, P), (N, P)]])
def test_labels_that_remove_a_listed_post(write, load, pairs):
    post_id = listed_ids("mvsa_multiple")[0]
    with pytest.raises(ValueError, match=rf"have 1 such posts \({post_id}\); this is not the released"):
        load("mvsa_multiple", data_dir=str(write({post_id: pairs})))


@pytest.mark.parametrize(
    ("name", "scheme", "sizes"),
    [
        ("mvsa_single", "clmlf", [3611, 450, 450]),
        ("mvsa_single", "random", [3609, 451, 451]),
        ("mvsa_multiple", "clmlf", [13_624, 1_700, 1_700]),
        ("mvsa_multiple", "random", [13_620, 1_702, 1_702]),
    ],
)
def test_split_files(name, scheme, sizes):
    splits, ids = read_splits(SPLITS / name / scheme), listed_ids(name, scheme)
    assert list(map(len, splits.values())) == sizes
    assert len(set(ids)) == sum(sizes)
    assert set(ids) == set(listed_ids(name))
    if name == "mvsa_multiple":  # Three of its images are broken.
        assert not {"3151", "3910", "5995"} & set(ids)
    if scheme == "random":
        assert random_split(reversed(ids)) == splits


def test_clmlf_split_is_that_of_the_real_copy(shared_data):
    folder = shared_data("mvsa_multiple") / "splits" / "clmlf"
    for split, ids in read_splits(SPLITS / "mvsa_multiple" / "clmlf").items():
        assert (folder / f"{'dev' if split == 'validation' else split}.txt").read_text().split() == ids
