"""Test how posts are read from files and folders."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

from mmsent.dataset_scripts import common_tables
from mmsent.dataset_scripts.common_posts import PostFile, open_posts


def read_posts(posts: PostFile) -> tuple[dict[int, dict], dict[int, str]]:
    """Return the posts and the error messages by row."""
    valid_posts, errors = {}, {}
    for number, row in posts:
        try:
            valid_posts[number] = posts.post(row)
        except ValueError as error:
            errors[number] = str(error)
    return valid_posts, errors


def test_a_folder_of_posts(tmp_path):
    (tmp_path / "1.txt").write_text("good day", encoding="utf-8-sig")
    tiny.picture(0).save(tmp_path / "1.jpg")
    (tmp_path / "2.txt").write_text("bad day")
    tiny.picture(1).save(tmp_path / "3.PNG")
    (tmp_path / "4.txt").write_bytes(b"caf\xe9")
    (tmp_path / "notes.md").write_text("not a post")
    posts = open_posts(tmp_path)
    valid_posts, errors = read_posts(posts)
    assert posts.count() == 4
    assert [posts.id_of(row) for _, row in posts] == ["1", "2", "3", None]
    assert valid_posts == {
        1: {"text": "good day", "images": [tmp_path / "1.jpg"], "aspect": None},
        2: {"text": "bad day", "images": [], "aspect": None},
        3: {"text": None, "images": [tmp_path / "3.PNG"], "aspect": None},
    }
    assert list(errors) == [4]
    assert "4.txt: 'utf-8'" in errors[4]


@pytest.mark.parametrize("several", [True, False])
def test_images_in_parquet(tmp_path, several):
    image = {"bytes": b"content", "path": None}
    cells = [[image], [image, image]] if several else [image, None]
    pq.write_table(pa.table({"image": cells}), tmp_path / "posts.parquet")
    posts = open_posts(tmp_path / "posts.parquet")
    assert posts.count() == 2
    expected = [[image], [image, image] if several else []]
    assert [posts.post(row)["images"] for _, row in posts] == expected


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("posts.csv", {"text": "message"}, "has no column message; its columns are nr, words"),
        ("posts.csv", {}, "its columns are nr, words. Choose one with --text_column"),
        ("none.csv", {}, "There is no file"),
        ("posts.xlsx", {}, "is neither a folder nor one of .csv"),
        ("empty", {}, "has no posts"),
        ("broken.csv", {}, "broken.csv, line 1: not UTF-8"),
    ],
)
def test_what_cannot_be_opened(tmp_path, name, chosen, message):
    (tmp_path / "posts.csv").write_text("nr,words\n1,good\n")
    (tmp_path / "broken.csv").write_bytes(b"text,caf\xe9\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        open_posts(tmp_path / name, chosen)


def test_images_outside_of_their_folder_are_refused(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "secret.png"
    inside.mkdir()
    outside.touch()
    (inside / "a.png").touch()
    (inside / "link.png").symlink_to(outside)
    (inside / "loop.png").symlink_to(inside / "loop.png")
    names = ["a.png", "../in/a.png", "../secret.png", str(outside), str(inside / "a.png"), "link.png"]
    names += ["loop.png", "\0", "https://images.example/a.png"]
    source = inside / "posts.jsonl"
    source.write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    valid_posts, errors = read_posts(open_posts(source))
    assert (list(valid_posts), list(errors)) == ([1, 2], [3, 4, 5, 6, 7, 8, 9])
    assert all("--allow_absolute_paths" in errors[number] for number in (3, 4, 5, 6))
    assert "is a URL: download" in errors[9]
    valid_posts, errors = read_posts(open_posts(source, allow_absolute_paths=True))
    assert (set(errors) & set(range(1, 7)), errors[9]) == (set(), errors[9])


def test_an_unclosed_quote_does_not_swallow_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(common_tables, "MAX_CELL", 1000)
    limit = csv.field_size_limit()
    source = tmp_path / "posts.csv"
    source.write_text('text\n"open\n' + "good\n" * 5000)
    valid_posts, errors = read_posts(open_posts(source))
    assert list(errors) == [1]
    assert list(valid_posts) == list(range(2, 5002))
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path, end):
    source = tmp_path / "posts.tsv"
    source.write_bytes(end.join(["\ufefftext\tid", '"two', 'lines"\ta', "", "bad", "good\tb", ""]).encode())
    valid_posts, errors = read_posts(open_posts(source))
    assert [post["text"] for post in valid_posts.values()] == [f"two{end}lines", "good"]
    assert list(errors) == [2]
    assert "line 5: 1 columns where the header names 2" in errors[2]
