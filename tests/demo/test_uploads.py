"""Uploaded files of the demo. `benchmarks/demo_load.py` sends many to the running demo."""

import time
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import FileData, ListFiles

from mmsent.demo import parts
from mmsent.demo.files import delete_old_files


@pytest.mark.parametrize(
    ("count", "files", "expected"),
    [
        ("single", FileData(path="a.csv"), "a.csv"),
        ("multiple", ListFiles(root=[FileData(path="a.png"), FileData(path="b.png")]), ["a.png", "b.png"]),
        ("multiple", None, None),
    ],
)
def test_reading_an_upload_leaves_nothing_behind(tmp_path, monkeypatch, count, files, expected):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert parts.add_upload(file_count=count).preprocess(files) == expected
    assert not list(tmp_path.iterdir())


def test_old_files_are_deleted_while_others_arrive(tmp_path, monkeypatch):
    """Gradio's own task for it ends for good in this case."""
    with gr.Blocks() as page:
        box = gr.File()
    for name in ("old", "older", "new"):
        (tmp_path / name).write_text("")
    page.upload_file_set |= {str(tmp_path / name) for name in ("old", "older", "gone")}
    box.temp_files |= {str(tmp_path / "old")}
    unlink = Path.unlink

    def unlink_while_a_file_arrives(path: Path) -> None:
        page.upload_file_set.add(str(tmp_path / "new"))
        unlink(path)

    monkeypatch.setattr(Path, "unlink", unlink_while_a_file_arrives)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    delete_old_files(page, 200)
    assert len(list(tmp_path.iterdir())) == 3
    delete_old_files(page, 50)
    assert page.upload_file_set == {str(tmp_path / "new")}
    assert box.temp_files == set()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    delete_old_files(page, -1)
    assert not list(tmp_path.iterdir())
