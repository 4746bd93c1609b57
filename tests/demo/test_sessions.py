"""What the demo keeps of its sessions. `benchmarks/demo_load.py` measures the memory of the running demo."""

import gradio as gr

from mmsent.demo import app


def test_sessions_that_are_kept_in_memory_are_limited(monkeypatch):
    launched = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda page, **settings: launched.append(settings))
    monkeypatch.setattr(app, "load_pipeline", lambda name: None)
    monkeypatch.setattr(app, "build", lambda pipe, name: gr.Blocks())
    monkeypatch.setattr("sys.argv", ["mmsent demo", "--model", "run"])
    app.main()
    assert launched[0]["state_session_capacity"] == app.MAX_SESSIONS < 1000
