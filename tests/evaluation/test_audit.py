"""The command `mmsent audit`."""

import itertools
import json
import re
import sys

import pytest
from standins import WRITERS, draw, write_multi_zol

from mmsent.dataset_scripts.common_leaks import find_leaks
from mmsent.evaluation import audit as audit_module
from mmsent.evaluation.audit import audit, main, render


def test_report(release, posts, load):
    """Nine posts: a text of train is in test, an image of validation is in train, and an image is broken."""
    ids = list(posts)
    texts, images = ([release / "data" / f"{post_id}{end}" for post_id in ids] for end in (".txt", ".jpg"))
    for number, post_id in enumerate(ids):
        draw(images[number], number, (64, 48))
        texts[number].write_text(f"{post_id} " + chr(97 + int(post_id) % 26) * 9)
    for number in (0, 7):
        texts[number].write_bytes(b"caf\xe9")
    images[2].write_bytes(images[5].read_bytes())
    images[8].write_bytes(b"not an image")
    report = audit(load("mvsa_single", data_dir=str(release)))
    assert report["label_order"] == {0: "negative", 1: "neutral", 2: "positive"}
    # The joint labels of the five train posts are positive, positive, negative, neutral, negative.
    assert report["posts"]["train"] == {"negative": 2, "neutral": 1, "positive": 2}
    assert report["missing"] == {"train": 3606, "validation": 448, "test": 448}
    assert report["text_encodings"] == {"utf-8-sig": 7, "latin-1": 2}
    assert report["images"]["test"]["undecodable"] == 1
    assert f"{ids[8]}.jpg" in report["images"]["test"]["examples"][0]
    assert report["images"]["train"] == {
        "images": 5, "posts_without": 0, "absent": 0, "undecodable": 0, "examples": []
    }  # fmt: skip
    assert report["leaks"] == {
        "train -> validation": {
            "identical_image": {"posts_of_first": 1, "posts_of_second": 1, "examples": [[ids[2], ids[5]]]}
        },
        "train -> test": {"exact_text": {"posts_of_first": 1, "posts_of_second": 1, "examples": [[ids[0], ids[7]]]}},
        "validation -> test": {},
    }
    assert report["leaking"] == 2
    # The labels are positive, positive in validation and negative, neutral in test.
    assert report["majority"]["validation"]["accuracy"] in (0.0, 100.0)
    assert report["majority"]["test"]["accuracy_interval"][0] <= report["majority"]["test"]["accuracy"]
    # In the same order, five of the nine pairs of text label and image label are equal.
    assert report["agreement"]["text_label = image_label"] == 55.6
    page = render("mvsa_single, config clmlf", report)
    assert len(page.splitlines()) < 50
    for line in (
        "0 negative, 1 neutral, 2 positive",
        f"1 posts of test,     1 of train: the same text, letter for letter ({ids[0]}={ids[7]})",
        f"1 posts of validation,     1 of train: the same image file ({ids[2]}={ids[5]})",
        "In total 2 posts of train leak; the config ..._clean does not have them",
        "0 not in the folder, 1 that cannot be decoded",
        "Texts were read as: 2 latin-1, 7 utf-8-sig",
        "Labels agree: text_label = image_label 55.6 %",
    ):
        assert line in page, line


@pytest.mark.slow
def test_sample_posts(load):
    report = audit(load("sample_posts"))
    assert report["majority"]["test"]["accuracy"] == 33.33
    assert report["majority"]["test"]["accuracy_interval"] == [27.98, 39.16]
    # Posts that share a text or an image are in one split.
    assert report["leaks"]["train -> validation"] == report["leaks"]["train -> test"] == {}
    assert report["leaking"] == 0


@pytest.fixture
def run_audit(tmp_path, monkeypatch):
    def run_audit(*argv):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["mmsent audit", *argv])
        main()

    return run_audit


def test_command(tmp_path, capsys, run_audit):
    folder = write_multi_zol(tmp_path / "zol")
    (folder / "img" / "Train_1_0.jpg").unlink()
    sample = (folder / "zol_Test_jieba.txt").read_text().splitlines()[:4]
    with (folder / "zol_Train_jieba.txt").open("a") as file:
        file.write("\n".join(sample) + "\n")
    options = ["--json", str(tmp_path / "a.json"), "--options", "classes=10"]
    run_audit("multi_zol", "--data_dir", str(folder), *options)
    page, report = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert page.startswith("multi_zol, config official\n")
    assert "Note: 1 of 8 images are not in" in page
    assert report["images"]["train"]["absent"] == 3  # The review has three samples.
    assert report["leaks"]["train -> test"]["group"] == {
        "posts_of_first": 1,
        "posts_of_second": 3,
        "examples": [["train-19", f"test-{n}"] for n in (1, 2, 3)],
    }
    assert list(report["label_order"].values()) == [str(score) for score in range(1, 11)]
    assert report["agreement"] == {}


FILES = {
    "msed": {split: f"{split}/{split}.csv" for split in ("train", "dev", "test")},
    "multi_zol": {split.lower(): f"zol_{split}_jieba.txt" for split in ("Train", "Dev", "Test")},
    "twitter2015": {split: f"{split}.tsv" for split in ("train", "dev", "test")},
}
SPLITS = ("train", "dev", "test")


@pytest.mark.parametrize("kept", [set(kept) for size in (1, 2) for kept in itertools.combinations(SPLITS, size)])
@pytest.mark.parametrize("config", ["official", "official_clean"])
@pytest.mark.parametrize("name", FILES)
def test_no_section_is_empty_without_all_splits(name, config, kept, tmp_path, load):
    folder = WRITERS[name](tmp_path / name)
    for split in set(SPLITS) - kept:
        (folder / FILES[name][split]).unlink()
    report = audit(load(name, config, data_dir=str(folder)))
    page = render(name, report)
    headings = ("interval of the accuracy)", "Splits share", "Images")
    assert not any(section.rstrip().endswith(headings) for section in page.split("\n\n"))
    assert ("Splits share" in page) == (len(kept) == 2)
    assert ("Always predicting" in page) == ("train" in kept and len(kept) == 2)
    for split in set(SPLITS) - kept:
        assert f"data_dir has no {FILES[name][split]}" in page
    assert set(report["posts"]) == {split.replace("dev", "validation") for split in kept}


def test_leaks_are_found_once_by_pair_of_splits(tmp_path, load, monkeypatch):
    pairs = []
    monkeypatch.setattr(audit_module, "find_leaks", lambda *pair: pairs.append(pair) or find_leaks(*pair))
    audit(load("multi_zol", data_dir=str(write_multi_zol(tmp_path / "zol"))))
    assert len(pairs) == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["twitter2015"], "error: twitter2015 cannot be downloaded: pass data_dir"),
        (["vso", "--data_dir", "nowhere"], "error: data_dir .*nowhere does not exist"),
        (["sample_posts", "--json", "nowhere/a.json"], "there is no folder nowhere, which --json names"),
    ],
)
def test_errors_are_one_line(run_audit, capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        run_audit(*argv)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_real_mvsa_single(mvsa_single, load):
    report = audit(load("mvsa_single", data_dir=str(mvsa_single)))
    leaks = report["leaks"]["train -> validation"]
    assert (leaks["exact_text"]["posts_of_second"], leaks["identical_image"]["posts_of_second"]) == (32, 3)
    assert report["agreement"]["text_label = label"] == 67.8  # The shares of all 4,511 posts are 67.8 and 89.6.
    assert report["agreement"]["image_label = label"] == 89.6
    assert report["majority"]["validation"] == {
        "label": "positive", "accuracy": 59.56, "macro_f1": 24.88, "weighted_f1": 44.46,
        "accuracy_interval": [54.96, 63.99],
    }  # fmt: skip
