"""The check of folders that a run writes to."""

import os

import pytest

from mmsent.training.checks import check_folder


def test_a_folder_that_must_not_be_written_to(tmp_path, monkeypatch):
    check_folder("output_dir", str(tmp_path / "new" / "run"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # an administrator may write everywhere
    with pytest.raises(ValueError, match=f"^output_dir={tmp_path}/new/run: you may not write into {tmp_path}.$"):
        check_folder("output_dir", str(tmp_path / "new" / "run"))
