"""Settings and backbones for every test. Nothing here or below reaches the network or the user's caches."""

import os
import tempfile

# One thread: the models are tiny, and threads of several test processes would wait for each other.
_CACHE = tempfile.mkdtemp(prefix="mmsent-tests-")
os.environ.update(
    HF_HUB_OFFLINE="1", HF_HOME=_CACHE, HF_DATASETS_CACHE=f"{_CACHE}/datasets", TOKENIZERS_PARALLELISM="0"
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
def mvsa_single() -> Path:
    """The real copy of MVSA-Single."""
    folder = SHARED / "data" / "mvsa_single"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/mvsa_single")
    return folder
