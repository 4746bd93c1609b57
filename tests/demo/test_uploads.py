"""Uploaded files of the demo. `benchmarks/demo_load.py` sends many to the running demo."""

import pytest
from gradio.data_classes import FileData, ListFiles

from mmsent.demo import parts


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
