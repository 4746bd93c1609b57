"""`load_corpus` and its cache."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from standins import write_msed
from tiny import ROOT

import mmsent
from mmsent.dataset_scripts import CORPORA, common_loading, corpus_class
from mmsent.dataset_scripts.common_corpus import Corpus, undecoded
from mmsent.dataset_scripts.common_loading import builder_arguments, corpus_folder, source_hash


def cache_key(name: str, data_dir: Path | None = None) -> str:
    return builder_arguments(name, data_dir)["hash"]


def paths(posts) -> list[Path]:
    return [Path(image["path"]) for images in undecoded(posts)["images"] for image in images]


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_is_complete(name):
    assert issubclass(corpus_class(name), Corpus)
    assert corpus_class(name).REDISTRIBUTION[0] in ("allowed", "unclear", "forbidden")
    assert "import mmsent" in (corpus_folder(name) / "README.md").read_text()


def test_load_dataset_uses_the_same_cache(release, load, tmp_path):
    corpus = mmsent.load_corpus("mvsa_single", "random", data_dir=release, cache_dir=tmp_path / "cache")
    assert corpus.cache_files == load("mvsa_single", "random", data_dir=str(release)).cache_files


def test_neither_torch_nor_registration_is_needed(tmp_path):
    """The package is an empty one here, because its __init__ imports the models and registers the corpora."""
    write_msed(tmp_path / "msed")
    code = f"""
import sys, types
sys.modules["torchvision"] = None  # `datasets` looks for it, and some installations import torch then
root = {str(ROOT)!r}
for name, path in {{"mmsent": [root + "/src/mmsent", root], "mmsent.modeling": [root + "/modeling"]}}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
import mmsent.dataset_scripts.common_screening
from mmsent.dataset_scripts import CORPORA, corpus_class, load_corpus
for name in CORPORA:
    corpus_class(name)
corpus = load_corpus("msed", "official_clean", data_dir={str(tmp_path / "msed")!r}, cache_dir={str(tmp_path)!r})
print(corpus["train"]["id"][:], "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "['train-1', 'train-2', 'train-3', 'train-4', 'train-5'] False\n"


def test_data_dir_may_be_relative_or_in_the_home_folder(release, monkeypatch, load):
    posts = load("mvsa_single", data_dir=str(release), split="train")
    monkeypatch.chdir(release.parent)
    monkeypatch.setenv("HOME", str(release.parent))
    for data_dir in (release.name, f"./{release.name}/data/..", f"~/{release.name}"):
        assert load("mvsa_single", data_dir=data_dir, split="train").cache_files == posts.cache_files
    monkeypatch.chdir("/")
    assert posts[0]["images"][0].size == (8, 6)
    assert paths(posts)[0].parent == release / "data"


def test_data_dir_may_look_like_a_pattern(write_release, posts, load):
    folder = write_release(posts, name="MVSA [1]*, äö")
    assert load("mvsa_single", data_dir=str(folder))["train"].num_rows == 5


def change_label(release):
    file = release / "labelResultAll.txt"
    stat = file.stat()
    file.write_bytes(file.read_bytes().replace(b"neutral,positive", b"neutral,negative", 1))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (change_label, False),
        (lambda release: os.utime(release / "labelResultAll.txt", ns=(0, 0)), False),
        (lambda release: (release / "data" / "new.txt").touch(), False),
        (lambda release: next((release / "data").glob("*.jpg")).unlink(), False),
        (lambda release: (release / "notes" / "deep").mkdir(parents=True), True),
    ],
)
def test_only_changes_of_the_index_change_the_key(change, same, release):
    os.utime(release / "data", ns=(0, 0))  # Any change now gives another time, even with a coarse clock.
    before = cache_key("mvsa_single", release)
    assert cache_key("mvsa_single", release) == before
    change(release)
    assert (cache_key("mvsa_single", release) == before) == same


@pytest.mark.parametrize("path", ["common_corpus.py", "mvsa/mvsa.py", "mvsa/splits/mvsa_single/random/dev.txt"])
def test_source_is_in_the_key(path, tmp_path, monkeypatch):
    copy = shutil.copytree(common_loading.ROOT, tmp_path / "copy")
    before = source_hash("mvsa_single")
    monkeypatch.setattr(common_loading, "ROOT", copy)
    (copy / "mvsa" / "README.md").write_text("a new text")
    (copy / "sample_posts" / "posts.py").write_text("another corpus")
    (copy / "common_screening.py").write_text("shared code that builds no corpus")
    assert source_hash("mvsa_single") == before
    key = cache_key("mvsa_single")
    with (copy / path).open("a") as file:
        file.write("# one more line\n")
    assert source_hash("mvsa_single") != before
    assert cache_key("mvsa_single") != key


def test_the_functions_that_decide_clean_variants_are_in_the_key(tmp_path, monkeypatch):
    before = cache_key("mvsa_single")
    copies = [shutil.copy(path, tmp_path) for path in common_loading.SHARED_MODELING]
    for copy in map(Path, copies):
        monkeypatch.setattr(common_loading, "SHARED_MODELING", list(map(Path, copies)))
        assert cache_key("mvsa_single") == before
        content = copy.read_text()
        copy.write_text(content + "# one more line\n")
        assert cache_key("mvsa_single") != before
        copy.write_text(content)


def test_versions_are_in_the_key(monkeypatch):
    before = cache_key("mvsa_single")
    assert cache_key("mvsa_single") == before
    versions = {package: version(package) for package in common_loading.PACKAGES} | {"imagehash": "0.1"}
    monkeypatch.setattr(common_loading, "version", versions.get)
    assert cache_key("mvsa_single") != before


def imported_files(file: Path) -> set[Path]:
    """Return the modules of the project that a module imports, at its top or in a function."""
    if file in common_loading.SHARED_MODELING:
        package = ["mmsent.modeling"]
    else:
        package = ["mmsent.dataset_scripts", *file.parent.relative_to(common_loading.ROOT).parts]
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = [".".join(package[: len(package) - node.level + 1])] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    modeling = common_loading.SHARED_MODELING[0].parent
    folders = {"mmsent.dataset_scripts.": common_loading.ROOT, "mmsent.modeling.": modeling}
    paths = {
        folder / f"{name.removeprefix(start).replace('.', '/')}.py"
        for name in names
        for start, folder in folders.items()
        if name.startswith(start)
    }
    return {path for path in paths if path.is_file()}


def test_everything_that_a_corpus_imports_is_in_the_key():
    own = {path for folder in set(map(corpus_folder, CORPORA)) for path in folder.glob("*.py")}
    reached, waiting = set(), set(own)
    while waiting:
        file = waiting.pop()
        reached.add(file)
        waiting |= imported_files(file) - reached
    shared = {common_loading.ROOT / name for name in common_loading.SHARED}
    assert reached - own == shared | set(common_loading.SHARED_MODELING)
