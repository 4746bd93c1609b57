import os
import shutil
from pathlib import Path

import datasets
import pytest
from datasets import load_dataset, load_dataset_builder

from mmsent import dataset_scripts
from mmsent.dataset_scripts import CORPORA, source_hash


@pytest.fixture
def cache_dir_of(tmp_path):
    """Where a corpus would be cached: it changes with the cache key."""

    def cache_dir_of(*args, **kwargs):
        return load_dataset_builder(*args, cache_dir=str(tmp_path / "cache"), **kwargs).cache_dir

    return cache_dir_of


@pytest.fixture
def no_listing(monkeypatch):
    def listed(base_path, **kwargs):
        raise AssertionError(f"every file below {base_path} is listed")

    monkeypatch.setattr(datasets.load, "get_data_patterns", listed)


@pytest.mark.usefixtures("no_listing")
def test_nothing_is_listed(release, load):
    assert load("mvsa_single", data_dir=str(release))["train"].num_rows == 5
    assert set(load("sample_posts", streaming=True)) == {"train", "validation", "test"}


def test_a_load_is_not_reported(monkeypatch, release, cache_dir_of):
    def reported(name):
        raise AssertionError(f"the load of {name} is reported over the network")

    monkeypatch.setattr(datasets.load, "increase_load_count", reported)
    cache_dir_of("sample_posts")
    cache_dir_of("mvsa_single", data_dir=str(release))


def test_other_names_still_work(tmp_path, monkeypatch, load):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    files = tmp_path / "files"
    files.mkdir()
    (files / "train.csv").write_text("a,b\n1,2\n")
    (files / "test.csv").write_text("a,b\n3,4\n")
    rows = load("csv", data_dir=str(files))
    assert (rows["train"][0], rows["test"][0]) == ({"a": 1, "b": 2}, {"a": 3, "b": 4})
    assert load("csv", data_files=str(files / "test.csv"))["train"][0] == {"a": 3, "b": 4}


@pytest.mark.parametrize("name", CORPORA)
def test_data_files_are_refused(name, tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=f"{name} takes data_dir="):
        load_dataset(name, data_files=str(tmp_path / "a.txt"))


def test_path_may_be_relative_or_of_the_home(release, monkeypatch, cache_dir_of, load):
    absolute = cache_dir_of("mvsa_single", data_dir=str(release))
    monkeypatch.chdir(release.parent)
    monkeypatch.setenv("HOME", str(release.parent))
    assert cache_dir_of("mvsa_single", data_dir=release.name) == absolute
    assert cache_dir_of("mvsa_single", data_dir=f"./{release.name}/data/..") == absolute
    assert cache_dir_of("mvsa_single", data_dir=f"~/{release.name}") == absolute
    rows = load("mvsa_single", data_dir=f"~/{release.name}", split="train")
    monkeypatch.chdir("/")
    assert rows[0]["images"][0].size == (8, 6)
    undecoded = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    assert Path(undecoded[0]["images"][0]["path"]).parent == release / "data"


def test_path_may_look_like_a_pattern(write_release, posts, load):
    folder = write_release(posts, name="MVSA [1]*, äö")
    assert load("mvsa_single", data_dir=str(folder))["train"].num_rows == 5


def _new_content_same_time(release):
    file = release / "labelResultAll.txt"
    stat = file.stat()
    file.write_bytes(file.read_bytes().replace(b"neutral,positive", b"neutral,negative", 1))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _new_time(release):
    stat = (release / "labelResultAll.txt").stat()
    os.utime(release / "labelResultAll.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def _file_added(release):
    (release / "data" / "new.txt").touch()


def _file_removed(release):
    next((release / "data").glob("*.jpg")).unlink()


@pytest.mark.parametrize("change", [_new_content_same_time, _new_time, _file_added, _file_removed])
def test_cache_key_changes(change, release, cache_dir_of):
    os.utime(release / "data", ns=(0, 0))  # any change now gives another time, however coarse the clock
    before = cache_dir_of("mvsa_single", data_dir=str(release))
    assert cache_dir_of("mvsa_single", data_dir=str(release)) == before
    change(release)
    assert cache_dir_of("mvsa_single", data_dir=str(release)) != before


def test_built_again_after_a_change(release, load, posts):
    post_id = next(iter(posts))
    assert load("mvsa_single", data_dir=str(release))["train"]["id"][0] == post_id
    (release / "data" / f"{post_id}.jpg").unlink()
    assert post_id not in load("mvsa_single", data_dir=str(release))["train"]["id"]


def test_each_config_has_its_own_cache(release, cache_dir_of):
    one, two = (cache_dir_of("mvsa_single", name, data_dir=str(release)) for name in ("clmlf", "random"))
    assert one != two
    assert cache_dir_of("mvsa_single", data_dir=str(release)) == one


@pytest.mark.parametrize("path", ["corpus.py", "mvsa/mvsa.py", "mvsa/splits/mvsa_single/random/dev.txt"])
def test_source_hash(path, tmp_path, monkeypatch):
    copy = shutil.copytree(Path(dataset_scripts.__file__).parent, tmp_path / "copy")
    before = source_hash(CORPORA["mvsa_single"])
    monkeypatch.setattr(dataset_scripts, "__file__", str(copy / "__init__.py"))
    assert source_hash(CORPORA["mvsa_single"]) == before
    (copy / "mvsa" / "README.md").write_text("a new text")
    (copy / "sample_posts" / "posts.py").write_text("another corpus")
    assert source_hash(CORPORA["mvsa_single"]) == before
    with (copy / path).open("a") as file:
        file.write("# one more line\n")
    assert source_hash(CORPORA["mvsa_single"]) != before


def test_source_hash_is_in_the_cache_key(release, cache_dir_of):
    for name, kwargs in {"mvsa_single": {"data_dir": str(release)}, "sample_posts": {}}.items():
        assert cache_dir_of(name, **kwargs).endswith(source_hash(CORPORA[name]))


def test_configs_are_listed():
    assert datasets.get_dataset_config_names("mvsa_single") == ["clmlf", "clmlf_clean", "random", "random_clean"]
    assert datasets.get_dataset_default_config_name("mvsa_single") == "clmlf"
