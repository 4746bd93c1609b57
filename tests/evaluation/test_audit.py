import json

import pytest
from standins import draw, write_multi_zol, write_twitter

from mmsent.evaluation.audit import audit, render
from mmsent.hub.corpora import main


@pytest.fixture
def mvsa(release, posts, load):
    """Nine posts: one text of train is in test, one picture of validation in train, one picture is broken."""
    ids = list(posts)
    for number, post_id in enumerate(ids):
        draw(release / "data" / f"{post_id}.jpg", number, (64, 48))
        (release / "data" / f"{post_id}.txt").write_text(f"{post_id} " + chr(97 + int(post_id) % 26) * 9)
    (release / "data" / f"{ids[0]}.txt").write_bytes(b"caf\xe9")
    (release / "data" / f"{ids[7]}.txt").write_bytes(b"caf\xe9")
    (release / "data" / f"{ids[2]}.jpg").write_bytes((release / "data" / f"{ids[5]}.jpg").read_bytes())
    (release / "data" / f"{ids[8]}.jpg").write_bytes(b"no picture")
    return load("mvsa_single", data_dir=str(release)), ids


def test_report(mvsa):
    corpus, ids = mvsa
    report = audit(corpus)
    assert report["label_order"] == {0: "negative", 1: "neutral", 2: "positive"}
    # joint labels of the five train posts: positive, positive, negative, neutral, negative
    assert report["posts"]["train"] == {"negative": 2, "neutral": 1, "positive": 2}
    assert report["missing"] == {"train": 3606, "validation": 448, "test": 448}
    assert report["text_encodings"] == {"utf-8-sig": 7, "latin-1": 2}
    assert report["pictures"]["test"]["undecodable"] == 1
    assert f"{ids[8]}.jpg" in report["pictures"]["test"]["examples"][0]
    assert report["pictures"]["train"] == {
        "pictures": 5, "posts_without": 0, "absent": 0, "undecodable": 0, "examples": []
    }  # fmt: skip
    assert report["leaks"] == {
        "train -> validation": {
            "identical_image": {"posts_of_first": 1, "posts_of_second": 1, "examples": [[ids[2], ids[5]]]}
        },
        "train -> test": {"exact_text": {"posts_of_first": 1, "posts_of_second": 1, "examples": [[ids[0], ids[7]]]}},
        "validation -> test": {},
    }
    assert report["leaking"] == 2
    # validation: positive, positive; test: negative, neutral (the labels of the fixture, in turn)
    assert report["majority"]["validation"]["accuracy"] in (0.0, 100.0)
    assert report["majority"]["test"]["half_width"] == 0.0
    pairs = [("positive", "positive"), ("neutral", "positive"), ("negative", "neutral"), ("neutral", "neutral")]
    pairs = (pairs + [("negative", "negative")] + pairs)[:9]
    same = 100 * sum(text == image for text, image in pairs) / 9
    assert report["agreement"]["text_label = image_label"] == pytest.approx(same, abs=0.05)


@pytest.mark.slow
def test_sample_posts(load):
    report = audit(load("sample_posts"))
    # a third of 270 posts: 1.96 · sqrt(1/3 · 2/3 / 270) = 5.6 points
    assert report["majority"]["test"]["accuracy"] == 33.33
    assert report["majority"]["test"]["half_width"] == 5.6
    # posts that share a text or a picture are in one split
    assert report["leaks"]["train -> validation"] == report["leaks"]["train -> test"] == {}
    assert report["leaking"] == 0


def test_page(mvsa):
    corpus, ids = mvsa
    page = render("mvsa_single, config clmlf", audit(corpus))
    assert len(page.splitlines()) < 50
    for part in (
        "0 negative, 1 neutral, 2 positive",
        f"1 posts of test,     1 of train: the same text, letter for letter ({ids[0]}={ids[7]})",
        f"1 posts of validation,     1 of train: the same picture file ({ids[2]}={ids[5]})",
        "In all 2 posts of train leak: the ..._clean config is without them",
        "0 not in the folder, 1 that cannot be decoded",
        "Texts were read as: 2 latin-1, 7 utf-8-sig",
        "Labels agree: text_label = image_label",
    ):
        assert part in page, part


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
def test_command(tmp_path, capsys):
    folder = write_multi_zol(tmp_path / "zol")
    (folder / "img" / "Train_1_0.jpg").unlink()
    sample = (folder / "zol_Test_jieba.txt").read_text().splitlines()[:4]
    with (folder / "zol_Train_jieba.txt").open("a") as file:
        file.write("\n".join(sample) + "\n")
    main(
        [
            "audit",
            "multi_zol",
            "--data_dir",
            str(folder),
            "--json",
            str(tmp_path / "a.json"),
            "--options",
            "classes=10",
        ]
    )
    page, report = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert page.startswith("multi_zol, config official\n")
    assert "Note: 1 of 8 pictures are not in" in page
    assert report["pictures"]["train"]["absent"] == 3  # of the three samples of the review
    assert report["leaks"]["train -> test"]["group"] == {
        "posts_of_first": 1,
        "posts_of_second": 3,
        "examples": [["train-19", f"test-{n}"] for n in (1, 2, 3)],
    }
    assert list(report["label_order"].values()) == [str(score) for score in range(1, 11)]
    assert "agreement" in report
    assert report["agreement"] == {}


@pytest.mark.usefixtures("own_cache")
def test_command_without_train(tmp_path, capsys):
    folder = write_twitter(tmp_path / "twitter2015")
    (folder / "train.tsv").unlink()
    main(["audit", "twitter2015", "--data_dir", str(folder)])
    assert "data_dir has no train.tsv" in capsys.readouterr().out


def test_errors_are_one_line(tmp_path):
    with pytest.raises(SystemExit, match="error: twitter2015 is not downloaded: give load_dataset"):
        main(["audit", "twitter2015"])
    with pytest.raises(SystemExit, match="error: data_dir .*nowhere does not exist"):
        main(["audit", "vso", "--data_dir", str(tmp_path / "nowhere")])


@pytest.mark.slow
def test_real_mvsa_single(mvsa_single, load):
    report = audit(load("mvsa_single", data_dir=str(mvsa_single)))
    leaks = report["leaks"]["train -> validation"]
    assert (leaks["exact_text"]["posts_of_second"], leaks["identical_image"]["posts_of_second"]) == (32, 3)
    assert report["agreement"]["text_label = label"] == 67.8  # papers.md, on all 4,511 posts: 67.8 and 89.6
    assert report["agreement"]["image_label = label"] == 89.6
    assert report["majority"]["validation"] == {
        "label": "positive", "accuracy": 59.56, "macro_f1": 24.88, "weighted_f1": 44.46, "half_width": 4.5
    }  # fmt: skip
