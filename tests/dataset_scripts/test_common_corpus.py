"""What the corpora share: encodings, folders, split files, columns."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsent.dataset_scripts.common_corpus import rows_hash, undecoded
from mmsent.dataset_scripts.common_files import check_file_name, decode_text, list_files, release_folder
from mmsent.dataset_scripts.common_schema import features
from mmsent.dataset_scripts.common_splits import read_splits, write_splits
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")))
def test_utf8_comes_first(text):
    assert decode_text(text.encode()) == text
    assert decode_text(b"\xef\xbb\xbf" + text.encode()) == text


@given(st.binary())
def test_all_bytes_can_be_decoded(raw):
    assert isinstance(decode_text(raw), str)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xc3\xa9", "é"),  # GB18030 and Latin-1 can decode it too.
        ("好看的屏幕".encode("gb18030"), "好看的屏幕"),  # Latin-1 can decode it too, UTF-8 cannot.
        ("好 ️𠀀".encode("gb18030"), "好 ️𠀀"),  # Four bytes per character, which GBK does not have.
        (b"at the caf\xe9", "at the café"),  # Neither UTF-8 nor GB18030 can decode it.
        (b"\xff\x80", "\xff\x80"),
        (b"", ""),
    ],
)
def test_order_of_encodings(raw, text):
    assert decode_text(raw) == text


def test_splits_are_written_and_read(tmp_path):
    splits = {"train": ["3", "1"], "validation": ["2"], "test": ["a-1"]}
    write_splits(tmp_path / "new" / "scheme", splits)
    assert read_splits(tmp_path / "new" / "scheme") == splits
    assert (tmp_path / "new" / "scheme" / "train.txt").read_bytes() == b"3\n1\n"


@pytest.mark.parametrize("name", ["train.txt", "dev.txt", "test.txt"])
def test_changed_split_file(tmp_path, name):
    folder = shutil.copytree(SPLITS / "mvsa_single" / "clmlf", tmp_path / "clmlf")
    file = folder / name
    file.write_bytes(file.read_bytes() + b"999999\n")
    with pytest.raises(ValueError, match=rf"{name} does not match its checksum.*restore") as error:
        read_splits(folder)
    assert str(file) in str(error.value)


def test_columns():
    columns = features(decided_by=features()["label"])
    names = "id text images aspect label text_label image_label decided_by"
    assert list(columns) == names.split()
    assert [columns["label"].str2int(name) for name in ("negative", "neutral", "positive")] == [0, 1, 2]
    row = {"id": "1", "text": "", "images": [], "aspect": None, "label": "neutral"}
    encoded = features().encode_example(row | {"text_label": None, "image_label": None})
    assert (encoded["label"], encoded["text_label"], encoded["image_label"]) == (1, None, None)


def test_release_folder(tmp_path):
    (tmp_path / "labels.txt").touch()
    assert release_folder("corpus", str(tmp_path), ["labels.txt"]) == tmp_path
    assert release_folder("corpus", str(tmp_path), ["labels.txt", "posts"], complete=False) == tmp_path
    for data_dir, error, message in [
        (tmp_path, FileNotFoundError, "has no posts: pass the folder .*labels.txt and posts"),
        (tmp_path / "nowhere", FileNotFoundError, "nowhere does not exist: pass the folder"),
        (tmp_path / "labels.txt", NotADirectoryError, "labels.txt is a file: unpack the archive and pass the folder"),
    ]:
        with pytest.raises(error, match=message):
            release_folder("corpus", str(data_dir), ["labels.txt", "posts"])


def test_list_files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.jpg").touch()
    (folder / "b.jpg").symlink_to("a.jpg")
    assert list_files(folder) == {"a.jpg", "b.jpg"}
    (folder / "A.jpg").touch()
    with pytest.raises(ValueError, match="two files of one name, A.jpg and a.jpg"):
        list_files(folder)
    (folder / "c.jpg").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="images/c.jpg is a symbolic link to /etc/passwd, out of its folder"):
        list_files(folder)


def test_list_files_refuses_what_would_hang_or_lead_nowhere(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="a.jpg is neither a file nor a folder, but a pipe"):
        list_files(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(ValueError, match="a.jpg is neither a file nor a folder, but a pipe"):
        list_files(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".", r"a\b.jpg", "", "C:a.jpg", "a\0.jpg"])
def test_check_file_name(name):
    assert check_file_name("a 1.jpg", "posts.csv, line 2") == "a 1.jpg"
    with pytest.raises(ValueError, match="^posts.csv, line 2: .* is not a bare file name and could lead out"):
        check_file_name(name, "posts.csv, line 2")


def test_rows_hash(load):
    posts = load("sample_posts", split="test").select(range(4))
    assert rows_hash(posts) == rows_hash(undecoded(posts)) != rows_hash(posts.select([1, 0, 2, 3]))
    changed = posts.map(lambda post: {"text": post["text"] + "!"})
    assert rows_hash(changed) != rows_hash(posts)
    assert rows_hash(changed, ["id", "label"]) == rows_hash(posts, ["label", "id"])
    splits = {"train": posts, "test": changed}
    assert rows_hash(splits) == rows_hash(dict(reversed(splits.items())))
    assert rows_hash(splits) != rows_hash({"train": changed, "test": posts})
