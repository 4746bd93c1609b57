"""Invalid releases: each gives an error that names the file and says what to do."""

import pytest


def test_no_data_dir(load):
    with pytest.raises(ValueError, match="mvsa_single cannot be downloaded: pass data_dir.*labelResultAll.txt"):
        load("mvsa_single")


def test_no_such_folder(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: pass the folder of the unpacked"):
        load("mvsa_single", data_dir=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["MVSA.zip", "MVSA-Single.rar", "mvsa.tar.gz"])
def test_archive(load, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(NotADirectoryError, match=f"{name} is a file: unpack"):
        load("mvsa_single", data_dir=str(tmp_path / name))


def test_folder_without_label_file(load, release):
    with pytest.raises(FileNotFoundError, match=r"has no labelResultAll.txt: pass the folder") as error:
        load("mvsa_single", data_dir=str(release.parent))
    assert str(release.parent) in str(error.value)


def test_folder_without_posts(load, release):
    (release / "data").rename(release / "posts")
    with pytest.raises(FileNotFoundError, match="has no data: pass the folder"):
        load("mvsa_single", data_dir=str(release))


def test_folder_with_none_of_the_posts(load, release):
    for file in (release / "data").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="none of the posts of mvsa_single, split clmlf.*unpacked"):
        load("mvsa_single", data_dir=str(release))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("777\tpositive,happy", "unknown label 'happy'; allowed are negative, neutral, positive"),
        ("777\tPositive,neutral", "unknown label 'Positive'"),
        ("777\tpositive", "a row is 'ID<tab>text label,image label', not '777\\tpositive'"),
        ("777\tpositive,neutral,negative", "a row is"),
        ("777\tpositive,neutral\tpositive,neutral", "a row is"),
        ("777 positive,neutral", "a row is"),
        ("{first}\tpositive,positive", "an earlier row has the id {first} too"),
    ],
)
def test_bad_row(load, release, posts, row, message, streaming):
    first = next(iter(posts))
    with (release / "labelResultAll.txt").open("a") as file:
        file.write(row.format(first=first) + "\n")
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared below)
        load("mvsa_single", data_dir=str(release), streaming=streaming)
    where = f"{release / 'labelResultAll.txt'}, line 11: "
    assert str(error.value).startswith(where + message.format(first=first))


@pytest.mark.parametrize("header", ["1\tpositive,positive", "ID\ttext,image\ttext,image\ttext,image", ""])
def test_bad_header(load, write_release, posts, header):
    folder = write_release(posts, header=header)
    with pytest.raises(ValueError, match="labelResultAll.txt, line 1: the header must be"):
        load("mvsa_single", data_dir=str(folder))


def test_empty_label_file(load, release):
    (release / "labelResultAll.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="labelResultAll.txt, line 1: the header must be"):
        load("mvsa_single", data_dir=str(release))


def test_removed_post_in_the_split(load, write_release, posts):
    first = next(iter(posts))
    folder = write_release(posts | {first: (b"", "positive", "negative")})
    with pytest.raises(ValueError, match=rf"have 1 such posts \({first}\); this is not the released"):
        load("mvsa_single", data_dir=str(folder))


@pytest.mark.parametrize("wrong", [False, True])
def test_published_counts(load, release, clmlf, wrong):
    ids = [post_id for ids in clmlf.values() for post_id in ids]
    words = ["positive"] * 2683 + ["neutral"] * 470 + ["negative"] * 1358
    words[0] = "negative" if wrong else words[0]
    rows = "".join(f"{i}\t{word},{word}\n" for i, word in zip(ids, words, strict=True))
    (release / "labelResultAll.txt").write_text("ID\ttext,image\n" + rows)
    if wrong:
        with pytest.raises(ValueError, match=r"'negative': 1359.*not the published ones.*'positive': 2683"):
            load("mvsa_single", data_dir=str(release))
    else:
        assert load("mvsa_single", data_dir=str(release))["train"]["label"][:] == [2] * 5


def test_unknown_config(load, release):
    with pytest.raises(ValueError, match=r"'clmf' not found. Available: \['clmlf', 'clmlf_clean', 'random'"):
        load("mvsa_single", "clmf", data_dir=str(release))


def test_unknown_option(load, release):
    with pytest.raises(ValueError, match="doesn't have a 'scheme' key"):
        load("mvsa_single", data_dir=str(release), scheme="random")


def test_corrupt_image_is_named_on_access(load, release, posts):
    first, second = list(posts)[:2]
    (release / "data" / f"{first}.jpg").write_bytes(b"")
    rows = load("mvsa_single", data_dir=str(release), split="train")
    assert rows[1]["id"] == second
    with pytest.raises(OSError, match=f"{first}.jpg"):
        rows[0]
