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
