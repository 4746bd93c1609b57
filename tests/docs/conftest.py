"""A checkout in which the README's blocks have run."""

import shutil
from pathlib import Path

import pages
import pytest
from filelock import FileLock
from tiny import ROOT


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """A fresh folder with the files of the repository that commands name."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "push_to_hub.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder


@pytest.fixture(scope="session")
def after_readme(checkout, tmp_path_factory, worker_id) -> Path:
    """The checkout after the README's commands, which train two models. The processes of a test run share it."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent
    target = root / "after_readme"
    with FileLock(root / "after_readme.lock"):
        if not target.exists():
            folder = shutil.copytree(checkout, tmp_path_factory.mktemp("readme") / "checkout")
            printed = pages.run_page(ROOT / "README.md", folder)
            (folder / "printed.log").write_text(printed, encoding="utf-8")
            folder.rename(target)
    return target
