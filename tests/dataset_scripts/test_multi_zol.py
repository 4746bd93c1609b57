"""Multi-ZOL."""

import pytest
from standins import ASPECTS, draw, write_multi_zol

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_multi_zol(tmp_path / "Multi-ZOL")


def paths(row) -> list[str]:
    return [image["path"] for image in row["images"]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("how", [{}, {"streaming": True}, {"num_proc": 2}])
def test_rows(tmp_path, load, end, bom, how):
    folder = write_multi_zol(tmp_path / "Multi-ZOL", end=end)
    train = folder / "zol_Train_jieba.txt"
    train.write_bytes(bom + train.read_bytes())
    loaded = load("multi_zol", data_dir=str(folder), **how)
    rows = list(undecoded(loaded["train"]))
    assert {split: len(list(posts)) for split, posts in loaded.items()} == {"train": 18, "validation": 6, "test": 6}
    assert [row["id"] for row in rows] == [f"train-{number}" for number in range(1, 19)]
    assert rows[3]["text"] == "Train 第 1 台 手机 屏幕 很 好 ， 电池 一般"
    assert rows[0]["text"].startswith("Train 第 0")  # without the byte order mark
    assert paths(rows[0]) == []
    assert paths(rows[6]) == [f"{folder}/img/Train_2_{slot}.jpg" for slot in range(2)]
    assert [row["aspect"] for row in rows[:3]] == ASPECTS[:3]
    assert (rows[0]["text_label"], rows[0]["image_label"]) == (None, None)
    assert rows[0]["group"] == rows[1]["group"] != rows[3]["group"]
    names = loaded["train"].features["label"].names
    assert names == ["1", "2", "3", "4", "5", "6", "8", "10"]
    assert [names[row["label"]] for row in rows[:9]] == ["10", "8", "6", "5", "4", "3", "2", "1", "10"]
    assert next(iter(loaded["test"].skip(5)))["images"][0].size == (24, 18)


def test_ten_classes(release, load):
    posts = load("multi_zol", data_dir=str(release), classes=10, split="train")
    assert posts.features["label"].names == [str(score) for score in range(1, 11)]
    assert posts["label"][:3] == [9, 7, 5]
    with pytest.raises(ValueError, match="classes=5: Multi-ZOL has 8 classes or 10"):
        load("multi_zol", data_dir=str(release), classes=5)


def test_seven_needs_ten_classes(release, load):
    file = release / "zol_Train_jieba.txt"
    file.write_text(file.read_text().replace("\n8.0\n", "\n7.0\n", 1))
    with pytest.raises(
        ValueError, match=r"sample 2, which begins in line 5, line 4 of 4: score '7.0' is not one of 1, 2, 3"
    ):
        load("multi_zol", data_dir=str(release))
    assert load("multi_zol", data_dir=str(release), classes=10, split="train")["label"][1] == 6


def test_a_release_without_one_of_the_files(release, load):
    (release / "zol_Dev_jieba.txt").unlink()
    loaded = load("multi_zol", data_dir=str(release))
    assert loaded.num_rows == {"train": 18, "test": 6}
    assert corpus_notes(loaded) == ["data_dir has no zol_Dev_jieba.txt: its samples are in no split"]
    for name in ("Train", "Test"):
        (release / f"zol_{name}_jieba.txt").unlink()
    with pytest.raises(FileNotFoundError, match="has no zol_Train_jieba.txt: pass the folder of the unpacked"):
        load("multi_zol", data_dir=str(release))


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


def test_official_clean_drops_the_reviews_of_dev_and_test(release, load):
    train, test = release / "zol_Train_jieba.txt", release / "zol_Test_jieba.txt"
    sample = test.read_text().splitlines()[:4]
    train.write_text(train.read_text() + "\n".join([sample[0], "[]", ASPECTS[5], "6.0"]) + "\n")
    assert load("multi_zol", data_dir=str(release))["train"].num_rows == 19
    loaded = load("multi_zol", "official_clean", data_dir=str(release))
    assert "train-19" not in loaded["train"]["id"]
    assert loaded["test"].num_rows == 6


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


@pytest.mark.parametrize("lines_left", [1, 2, 3])
def test_truncated_last_sample(release, load, lines_left):
    file = release / "zol_Test_jieba.txt"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: 20 + lines_left]))
    message = f"zol_Test_jieba.txt, line 21: the last sample has {lines_left} of its 4 lines; the file is cut short"
    with pytest.raises(ValueError, match=message):
        load("multi_zol", data_dir=str(release))


def test_blank_lines_at_the_end(release, load):
    file = release / "zol_Test_jieba.txt"
    file.write_text(file.read_text() + "\n\n")
    assert load("multi_zol", data_dir=str(release), split="test").num_rows == 6


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("line", "value", "message"),
    [
        (3, "7.5", "line 4 of 4: score '7.5' is not one of 1, 2, 3, 4, 5, 6, 8, 10"),
        (3, "nan", "score 'nan' is not one of"),
        (3, "good", "score 'good' is not one of"),
        (1, "__import__('os').system('touch pwned')", 'line 2 of 4: "__import__.* is not a list of file names'),
        (1, "[open('x')]", "is not a list of file names"),
        (1, "[" * 10_000, "is not a list of file names"),
        (1, "'a.jpg'", "is not a list of file names"),
        (1, "[1, 2]", "is not a list of file names"),
        (1, "", "is not a list of file names"),
        (1, "['../../etc/passwd']", "'../../etc/passwd' is not a bare file name and could lead out"),
        (1, "['/etc/passwd']", "'/etc/passwd' is not a bare file name"),
        (1, "['..']", "'..' is not a bare file name"),
        (1, r"['a\\b.jpg']", "is not a bare file name"),
        (1, "['']", "'' is not a bare file name"),
        (2, "价格", "line 3 of 4: aspect '价格' is not one of 性价比"),
    ],
)
def test_bad_line(release, load, line, value, message, streaming, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = release / "zol_Dev_jieba.txt"
    lines = file.read_text().splitlines()
    lines[8 + line] = value
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message) as error:
        load("multi_zol", data_dir=str(release), streaming=streaming)
    assert str(error.value).startswith(f"{file}, sample 3, which begins in line 9")
    assert not (tmp_path / "pwned").exists()
