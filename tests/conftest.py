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
import itertools  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import accessibility  # noqa: E402
import datasets  # noqa: E402
import pytest  # noqa: E402
import tiny  # noqa: E402
from PIL import Image  # noqa: E402

from mmsent.dataset_scripts.common_splits import read_splits  # noqa: E402
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS  # noqa: E402

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


@pytest.fixture(scope="module")
def browser():
    """Chromium. The scope is a module, since nothing else can use asyncio in this process while it runs."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=accessibility.CHROMIUM, args=accessibility.ARGUMENTS, chromium_sandbox=False
        )
        yield browser
        browser.close()


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
def standins():
    """The writers of tiny releases."""
    return importlib.import_module("standins")


@pytest.fixture(autouse=True, scope="session")
def no_progress_bars():
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def clmlf():
    return read_splits(SPLITS / "mvsa_single" / "clmlf")


@pytest.fixture
def write_release(tmp_path):
    """Writes a release laid out as MVSA-Single: {id: (text bytes, text label, image label)} -> its folder."""

    def write(posts, name="MVSA_Single", header="ID\ttext,image", end="\r\n"):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        rows = [header]
        for number, (post_id, (text, text_label, image_label)) in enumerate(posts.items()):
            rows.append(f"{post_id}\t{text_label},{image_label}")
            (folder / "data" / f"{post_id}.txt").write_bytes(text)
            Image.new("RGB", (8, 6), (number * 20 % 256, 0, 0)).save(folder / "data" / f"{post_id}.jpg")
        (folder / "labelResultAll.txt").write_bytes("".join(row + end for row in rows).encode())
        return folder

    return write


@pytest.fixture
def posts(clmlf):
    """Five posts of train, two of validation, two of test, with real ids."""
    text_labels = ["positive", "neutral", "negative", "neutral", "negative"]
    image_labels = ["positive", "positive", "neutral", "neutral", "negative"]
    ids = clmlf["train"][:5] + clmlf["validation"][:2] + clmlf["test"][:2]
    pairs = itertools.cycle(zip(text_labels, image_labels, strict=True))
    return {i: (f"text of {i}\n".encode(), *pair) for i, pair in zip(ids, pairs, strict=False)}


@pytest.fixture
def release(write_release, posts):
    return write_release(posts)


@pytest.fixture
def load(tmp_path):
    """`load_dataset` with a cache of its own."""

    def load(*args, **kwargs):
        return datasets.load_dataset(*args, cache_dir=str(tmp_path / "cache"), **kwargs)

    return load
