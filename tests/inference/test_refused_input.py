"""Input that must be refused or counted by name: nothing is lost, and nothing outside of a folder is read."""

import os

import pytest
import tiny
from standins import write_flickr_folder, write_twitter

from mmsent.dataset_scripts import load_corpus
from mmsent.dataset_scripts.common_corpus import corpus_notes
from mmsent.dataset_scripts.common_files import locked
from mmsent.hub.cards import public_name
from mmsent.inference.post_files import open_posts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("posts.csv", b"text,text\na,b\n", "posts.csv, line 1: two columns have the name 'text'"),
        ("posts.csv", "text\nä\n".encode("utf-16"), "posts.csv, line 1: the file is UTF-16 or UTF-32; convert it"),
        ("posts.jsonl", b'[{"text": "a"}]\n', "posts.jsonl is one JSON array, .*jq -c '.\\[\\]'"),
        ("posts.jsonl", b'{\n  "text": "a"\n}\n', "posts.jsonl has JSON objects of several lines, .*jq -c"),
    ],
)
def test_tables_in_another_form_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_posts(tmp_path / name)


def test_a_row_names_the_missing_column_and_deep_brackets_are_one_bad_row(tmp_path):
    (tmp_path / "posts.csv").write_text(f'text,images\na\nb,"{"[" * 60_000}"\nc,\n')
    posts = open_posts(tmp_path / "posts.csv")
    rows = [row for _, row in posts]
    assert "column 'images' is missing" in str(rows[0])
    with pytest.raises(ValueError, match="JSON"):
        posts.post(rows[1])
    assert posts.post(rows[2])["text"] == "c"


def test_a_folder_gives_regular_files_of_its_own_only(tmp_path):
    folder = tmp_path / "posts"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "1.txt").write_text("good day")
    (folder / ".2.txt").write_text("hidden")
    (folder / "3.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(folder / "4.txt")
    posts = open_posts(folder)
    assert [row["text"] for _, row in posts] == ["good day"]
    assert posts.left_out() == [
        ".2.txt is hidden",
        "3.txt is a link out of the folder",
        "4.txt is not a regular file",
    ]


def test_a_second_command_with_the_same_output_is_refused(tmp_path, backbones, monkeypatch, capsys):
    from mmsent.inference import predict

    for saved in tiny.build("comn", "own", backbones):
        saved.save_pretrained(tmp_path / "model")
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    argv = ["--model", str(tmp_path / "model"), "--input", str(tmp_path / "posts.csv")]
    monkeypatch.setattr("sys.argv", ["mmsent predict", *argv, "--output", str(tmp_path / "out.jsonl")])
    with locked(tmp_path / "out.jsonl"), pytest.raises(SystemExit, match="2"):
        predict.main()
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert predict.main() == 0


def test_an_empty_file_of_a_split_is_an_error(tmp_path):
    folder = write_twitter(tmp_path / "twitter2015")
    (folder / "test.tsv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"test\.tsv, line 1: the file has no posts; get it again, or remove it"):
        load_corpus("twitter2015", data_dir=folder, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("/data/private/posts", "posts"), ("sample_posts", "sample_posts"), ("user/corpus", "user/corpus")],
)
def test_a_card_names_no_local_path(dataset, name):
    assert public_name(dataset) == name


def test_a_file_among_the_folders_of_a_corpus_is_noted(tmp_path):
    folder = write_flickr_folder(tmp_path / "vso")
    (folder / "posts" / ".DS_Store").write_bytes(b"x")
    corpus = load_corpus("vso", data_dir=folder, cache_dir=tmp_path / "cache")
    assert any("1 entries of posts are not folders of an ANP: .DS_Store" in note for note in corpus_notes(corpus))
