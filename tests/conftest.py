"""Settings and backbones for every test. Nothing here or below reaches the network or the user's caches."""

import os
import tempfile
from collections.abc import Callable

# One thread: the models are tiny, and threads of several test processes would wait for each other.
_CACHE = tempfile.mkdtemp(prefix="mmsent-tests-")
os.environ.update(
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    HF_HOME=_CACHE,
    HF_DATASETS_CACHE=f"{_CACHE}/datasets",
    TOKENIZERS_PARALLELISM="0",
)

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import tiny  # noqa: E402

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def backbones(tmp_path_factory) -> dict[str, str]:
    """Folders of tiny backbones with random weights, in the layout of real ones."""
    return tiny.make_backbones(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Folder of a real corpus by name; skips the test where it is not at hand."""

    def folder(name: str) -> Path:
        path = SHARED / "data" / name
        if not path.is_dir():
            pytest.skip(f"needs ../shared/data/{name}")
        return path

    return folder


@pytest.fixture(scope="session")
def mvsa_single(shared_data) -> Path:
    """The real copy of MVSA-Single."""
    return shared_data("mvsa_single")


@pytest.fixture
def run(monkeypatch) -> Callable[..., dict]:
    """train.py in this process, for one epoch unless told otherwise; returns what its run.json says."""
    train = importlib.import_module("train")
    brief = ["--num_train_epochs", "1", "--per_device_train_batch_size", "128"]
    brief += ["--report_to", "none", "--disable_tqdm", "true"]

    def run(output_dir: Path, *argv: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["train.py", "--output_dir", str(output_dir), *brief, *argv])
        train.main()
        return json.loads((output_dir / "run.json").read_text())

    return run


@pytest.fixture
def standins(monkeypatch):
    """The writers of tiny releases, from the tests of the corpora."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "dataset_scripts"))
    return importlib.import_module("standins")
