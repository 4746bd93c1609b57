"""What the demo is started with, and what it keeps. `benchmarks/demo_load.py` measures the memory of the demo."""

import sys

import gradio as gr
import pytest

from mmsent.demo import app


@pytest.fixture
def start(monkeypatch):
    """Start the demo without a server; return the settings of Gradio, and what was called."""

    def start(*argv: str, link: str | None = None) -> dict:
        seen = {"waited": False, "closed": False}
        monkeypatch.delenv("GRADIO_ANALYTICS_MAX_EVENTS", raising=False)

        def launched(page: gr.Blocks, **settings) -> tuple:
            seen.update(settings, queue=page._queue)
            return None, None, link

        monkeypatch.setattr(gr.Blocks, "launch", launched)
        monkeypatch.setattr(gr.Blocks, "block_thread", lambda page: seen.update(waited=True))
        monkeypatch.setattr(gr.Blocks, "close", lambda page, verbose: seen.update(closed=True))
        monkeypatch.setattr(app, "load_pipeline", lambda name: None)
        monkeypatch.setattr(app, "build", lambda pipe, run, corpus: seen.update(of_corpus=corpus) or gr.Blocks())
        monkeypatch.setattr(sys, "argv", ["mmsent demo", "--model", "run", *argv])
        try:
            app.main()
        except SystemExit as end:
            seen["code"] = end.code
        return seen

    return start


def test_what_is_kept_is_limited(start):
    seen = start()
    assert seen["state_session_capacity"] == app.MAX_SESSIONS < 1000
    assert seen["queue"].ANALYTICS_MAX_EVENTS < 1000
    assert not seen["run_history"]  # Gradio would keep posts on the disk of the user.
    assert seen["waited"]


def test_the_page_is_public_only_where_asked(start, monkeypatch):
    monkeypatch.setenv("GRADIO_SHARE", "True")
    assert start()["share"] is False
    seen = start("--share", link="https://abc.gradio.live")
    assert seen["share"] is True
    assert seen["waited"]
    assert "code" not in seen


def test_posts_of_the_corpus_are_not_published_unless_asked(start):
    link = "https://abc.gradio.live"
    assert start()["of_corpus"]
    assert not start("--examples", "generated")["of_corpus"]
    assert not start("--share", link=link)["of_corpus"]
    assert start("--share", "--examples", "corpus", link=link)["of_corpus"]


def test_a_public_link_that_cannot_be_had_is_one_line(start, capsys):
    seen = start("--share")
    assert seen["code"] == 2
    assert seen["closed"]
    assert not seen["waited"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mmsent demo: error: --share: there is no public link")
