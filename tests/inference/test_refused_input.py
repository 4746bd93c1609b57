"""Input that must be refused or counted by name: nothing is lost, and nothing outside of a folder is read."""

import json
import math
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from standins import write_flickr_folder, write_twitter

from mmsent.dataset_scripts import common_rows, load_corpus
from mmsent.dataset_scripts.common_corpus import corpus_notes
from mmsent.dataset_scripts.common_files import locked
from mmsent.dataset_scripts.common_leaks import hash_image
from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.hub.cards import public_name
from mmsent.inference import predict


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("posts.csv", b"text,text\na,b\n", "posts.csv, line 1: two columns have the name 'text'"),
        ("posts.csv", "text\nä\n".encode("utf-16"), "posts.csv, line 1: the file is UTF-16 or UTF-32; convert it"),
        ("posts.jsonl", b'[{"text": "a"}]\n', "posts.jsonl is one JSON array, .*jq -c '.\\[\\]'"),
        ("posts.jsonl", '{"text": "a"}\n'.encode("utf-16-le"), "posts.jsonl, line 1: the file is UTF-16 or UTF-32"),
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


@pytest.mark.parametrize("depth", [900, 990, 60_000])
def test_deep_brackets_in_json_are_bad_rows(tmp_path, depth):
    deep = "[" * depth + "]" * depth
    lines = [f'{{"{field}": {deep}}}' for field in ("text", "images", "id")] + ['{"text": "c"}']
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))
    posts = open_posts(tmp_path / "posts.jsonl")
    rows = [row for _, row in posts]
    assert posts.post(rows[3])["text"] == "c"
    for row in rows:
        posts.id_of(row)
    with pytest.raises(ValueError, match="JSON|an image is a path"):
        posts.post(rows[1])


def test_a_key_or_column_that_occurs_twice(tmp_path):
    (tmp_path / "posts.jsonl").write_text('{"text": "a", "text": "b"}\n{"text": "c"}\n')
    rows = [row for _, row in open_posts(tmp_path / "posts.jsonl")]
    assert "line 1" in str(rows[0])
    assert "the key 'text' occurs twice" in str(rows[0])
    assert rows[1] == {"text": "c"}
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "posts.parquet")
    with pytest.raises(ValueError, match="posts.parquet: two columns have the name 'text'"):
        open_posts(tmp_path / "posts.parquet")


def test_what_is_not_a_regular_file_or_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "posts.csv")
    with pytest.raises(ValueError, match="posts.csv is not a regular file"):
        open_posts(tmp_path / "posts.csv")
    (tmp_path / "posts.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match="There is no folder .*nowhere, which --image_dir names"):
        open_posts(tmp_path / "posts.jsonl", image_dir=tmp_path / "nowhere")


def test_two_texts_of_one_post_and_a_long_text_are_bad_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(common_rows, "MAX_CELL", 10)
    for name, text in {"1.TXT": "a", "1.txt": "b", "2.txt": "c" * 11, "3.txt": "d"}.items():
        (tmp_path / name).write_text(text)
    rows = [row for _, row in open_posts(tmp_path)]
    assert "the post has also the text" in str(rows[0])
    assert "more than 10 bytes" in str(rows[1])
    assert rows[2]["text"] == "d"


def test_a_changed_text_of_a_folder_changes_its_state(tmp_path):
    (tmp_path / "1.txt").write_text("a")
    before = open_posts(tmp_path).state()
    (tmp_path / "1.txt").write_text("ab")
    assert open_posts(tmp_path).state() != before


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


@pytest.fixture
def model(tmp_path, backbones):
    for saved in tiny.build("comn", "own", backbones):
        saved.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("logits", "label"),
    [([0.0, 1e-6, -1.0], "neutral"), ([1e-6, 0.0, -1.0], "negative"), ([0.0, math.nan, 1.0], None)],
)
def test_a_prediction_is_the_largest_score_before_rounding(model, tmp_path, logits, label, monkeypatch):
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    pipe, posts = predict.load_pipeline(str(model)), open_posts(tmp_path / "posts.csv")
    monkeypatch.setattr(pipe, "forward", lambda batch: {"both": torch.tensor([logits])})
    (record,) = predict.predict_rows(pipe, posts, dict(posts))
    assert record.get("prediction") == label
    assert ("are not finite numbers" in record.get("error", "")) == (label is None)
    json.dumps(record, allow_nan=False)


def test_only_the_content_of_a_model_is_its_version(model):
    before = predict.model_version(str(model))
    os.utime(model / "model.safetensors")
    assert predict.model_version(str(model)) == before
    (model / "processor_config.json").write_text((model / "processor_config.json").read_text() + " ")
    assert predict.model_version(str(model)) != before


@pytest.mark.slow
def test_two_processes_with_one_output_write_one_output(model, tmp_path):
    (tmp_path / "posts.csv").write_text("text\n" + "good day\n" * 3000)
    argv = ["--model", str(model), "--input", str(tmp_path / "posts.csv"), "--output", str(tmp_path / "out.jsonl")]
    command = [sys.executable, "-m", "mmsent", "predict", *argv, "--batch_size", "4"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    errors = {process.communicate()[1].splitlines()[-1]: process.returncode for process in (first, second)}
    (refusal,) = (line for line, code in errors.items() if code == 2)
    assert sorted(errors.values()) == [0, 2]
    # The slower one may come when the output is complete.
    assert f"writes to {tmp_path / 'out.jsonl'}" in refusal or "exists already" in refusal
    rows = [json.loads(line)["row"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 3001))


def test_a_second_command_with_the_same_output_is_refused(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "posts.csv").write_text("text\ngood day\n")
    argv = ["--model", str(model), "--input", str(tmp_path / "posts.csv")]
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


def test_an_image_of_a_corpus_that_is_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "1.jpg")
    assert "is not a regular file" in hash_image(str(tmp_path / "1.jpg")).error
    assert hash_image(str(tmp_path / "2.jpg")) is None


def test_a_file_among_the_folders_of_a_corpus_is_noted(tmp_path):
    folder = write_flickr_folder(tmp_path / "vso")
    (folder / "posts" / ".DS_Store").write_bytes(b"x")
    (folder / "posts" / "beautiful_flower" / "._p7.json").write_bytes(b"x")
    corpus = load_corpus("vso", data_dir=folder, cache_dir=tmp_path / "cache")
    assert any("1 entries of posts are not folders of an ANP: .DS_Store" in note for note in corpus_notes(corpus))
