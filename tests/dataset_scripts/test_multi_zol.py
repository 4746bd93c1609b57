"""Multi-ZOL."""

import pytest
from standins import ASPECTS, draw, write_multi_zol

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_multi_zol(tmp_path / "Multi-ZOL")


def paths(row) -> list[str]:
    return [image["path"] for image in row["images"]]


def test_rows(release, load):
    loaded = load("multi_zol", data_dir=str(release))
    rows = list(undecoded(loaded["train"]))
    assert loaded.num_rows == {"train": 18, "validation": 6, "test": 6}
    assert [row["id"] for row in rows] == [f"train-{number}" for number in range(1, 19)]
    assert rows[3]["text"] == "Train 第 1 台 手机 屏幕 很 好 ， 电池 一般"
    assert paths(rows[0]) == []
    assert paths(rows[6]) == [f"{release}/img/Train_2_{slot}.jpg" for slot in range(2)]
    assert [row["aspect"] for row in rows[:3]] == ASPECTS[:3]
    assert (rows[0]["text_label"], rows[0]["image_label"]) == (None, None)
    assert rows[0]["group"] == rows[1]["group"] != rows[3]["group"]
    names = loaded["train"].features["label"].names
    assert names == ["1", "2", "3", "4", "5", "6", "8", "10"]
    assert [names[row["label"]] for row in rows[:9]] == ["10", "8", "6", "5", "4", "3", "2", "1", "10"]


def test_ten_classes(release, load):
    file = release / "zol_Train_jieba.txt"
    file.write_text(file.read_text().replace("\n8.0\n", "\n7.0\n", 1))
    posts = load("multi_zol", data_dir=str(release), classes=10, split="train")
    assert posts.features["label"].names == [str(score) for score in range(1, 11)]
    assert posts["label"][:3] == [9, 6, 5]


def test_review_split(tmp_path, load):
    folder = write_multi_zol(tmp_path / "Multi-ZOL", {"Train": 60, "Dev": 20, "Test": 20})
    loaded = load("multi_zol", "review", data_dir=str(folder))
    groups = {split: set(posts["group"]) for split, posts in loaded.items()}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 100
    assert sum(loaded.num_rows.values()) == 300
    assert 65 <= len(groups["train"]) <= 92
    assert len(groups["validation"]) > 2
    assert len(groups["test"]) > 2
    # A review is in the same split in a partial release, and on any machine.
    part = load("multi_zol", "review", data_dir=str(write_multi_zol(tmp_path / "part", {"Test": 20})))
    for split, posts in part.items():
        assert set(posts["group"]) <= groups[split]
    assert loaded["validation"]["id"][:4] == ["train-1", "train-2", "train-3", "train-34"]


def test_images_of_every_kind(release, load):
    """A GIF file, a file that is not an image, an absent file, more than a hundred names."""
    draw(release / "img" / "a.gif", 1)
    (release / "img" / "b.jpg").write_text("<html>404</html>")
    names = ["a.gif", "b.jpg", "c.jpg", *(f"{n}.jpg" for n in range(100))]
    file = release / "zol_Dev_jieba.txt"
    file.write_text(f"好\n{names}\n{ASPECTS[0]}\n1.0\n" + file.read_text())
    loaded = load("multi_zol", data_dir=str(release))
    assert corpus_notes(loaded)[0].startswith("101 of 111 images are not in")
    assert "0.jpg, 1.jpg, 10.jpg" in corpus_notes(loaded)[0]
    row = undecoded(loaded["validation"])[0]
    assert [path.rpartition("/")[2] for path in paths(row)] == names
    with pytest.raises(Exception, match=r"b\.jpg"):
        loaded["validation"][0]
