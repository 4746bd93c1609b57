"""Test wrong use of the demo without a browser."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
import tiny

from mmsent.demo import app
from mmsent.inference.predict import load_pipeline


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for saved in tiny.build("comn", "own", backbones):
        saved.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def analyse_table(model):
    page = app.build(load_pipeline(str(model)), str(model))
    return next(entry.fn for entry in page.fns.values() if entry.name == "analyse_table")


def test_a_table_tab_without_a_table(analyse_table):
    with pytest.raises(gr.Error, match="Choose a table first"):
        analyse_table(None, None, [])


@pytest.mark.parametrize("port", [None, 0, 70_000])
def test_a_port_that_cannot_be_used(model, port, monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1] if port is None else port
        monkeypatch.setattr(sys, "argv", ["mmsent demo", "--model", str(model), "--port", str(port)])
        with pytest.raises(SystemExit, match="2"):
            app.main()
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert str(port) in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv"),
        ("a.csv", b"tekst\ngood\n", "a.csv has no column text, images or image"),
        ("a.csv", b"text,text\na,b\n", "two columns have the name 'text'"),
        ("a.csv", "text\ngood\n".encode("utf-16"), "UTF-16"),
        ("a.xlsx", b"PK\x03\x04", "a.xlsx is neither a folder nor one of"),
        ("a.jsonl", b'[{"text": "a"}]', "a.jsonl is one JSON array"),
        ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "a.parquet is damaged, or not a Parquet file"),
    ],
)
def test_bad_tables_are_one_error_with_the_name_that_the_user_knows(analyse_table, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(gr.Error, match=re.escape(message)) as error:
        analyse_table(str(tmp_path / name), None, [])
    assert str(tmp_path) not in str(error.value)


def test_two_images_of_one_name(analyse_table, tmp_path):
    (tmp_path / "a.csv").write_text("text,images\na,0.png\n")
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        tiny.picture(0).save(tmp_path / folder / "0.png")
    with pytest.raises(gr.Error, match=r"Two images have the name 0.png: rename one of them"):
        analyse_table(str(tmp_path / "a.csv"), [str(tmp_path / "x/0.png"), str(tmp_path / "y/0.png")], [])


def test_users_of_the_same_table_get_files_of_their_own(analyse_table, tmp_path):
    """Gradio keeps uploads of the same content in the same folder."""
    (tmp_path / "a.csv").write_text("text,images\ngood,0.png\n ,\n")
    answers = []
    for user in range(2):
        (tmp_path / str(user)).mkdir()
        tiny.picture(user).save(tmp_path / str(user) / "0.png")
        answers.append(analyse_table(str(tmp_path / "a.csv"), [str(tmp_path / str(user) / "0.png")], []))
    rows = []
    for page, file, *_ in answers:
        assert Path(file).is_relative_to(tmp_path)
        rows.append([line.split(",") for line in Path(file).read_text().splitlines()[1:]])
        assert f"<td>{float(rows[-1][0][4]):.3f}</td>" in page
        assert page.count('<img alt="0.png"') == 1
    assert rows[0][0][4:] != rows[1][0][4:]
    assert rows[0][1][2:4] == ["", "the post has neither text nor an image"]


@pytest.mark.slow
def test_temporary_files_are_deleted(model, tmp_path):
    code = "import sys; from mmsent.demo import app; app.build(app.load_pipeline(sys.argv[1]), 'name')"
    variables = os.environ | {"TMPDIR": str(tmp_path), "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    subprocess.run([sys.executable, "-c", code, str(model)], env=variables, check=True, capture_output=True)
    assert not list(tmp_path.glob("mmsent-*"))
