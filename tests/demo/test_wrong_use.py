"""Test wrong use of the demo without a browser."""

import socket
import sys

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


def test_a_table_tab_without_a_table(model):
    page = app.build(load_pipeline(str(model)), "name")
    (analyse_table,) = (entry.fn for entry in page.fns.values() if entry.name == "analyse_table")
    with pytest.raises(gr.Error, match="Choose a table first"):
        analyse_table(None, None)


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
