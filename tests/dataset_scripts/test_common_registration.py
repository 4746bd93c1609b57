"""`datasets.load_dataset` with the names of our corpora."""

import inspect
from dataclasses import fields

import datasets
import pytest
from datasets import load_dataset
from datasets.load import DatasetModule, PackagedDatasetModuleFactory

from mmsent.dataset_scripts import CORPORA, register
from mmsent.dataset_scripts.common_registration import TESTED


def test_private_parts_of_datasets():
    """If this fails, compare `dataset_module_factory` and `load_dataset_builder` in datasets/load.py with `register`,
    correct it, and set `TESTED` to the new release."""
    advice = f"datasets {datasets.__version__} differs from {TESTED}, with which register() was tested: check "
    original = inspect.unwrap(PackagedDatasetModuleFactory)
    parameters = ["name", "data_dir", "data_files", "download_config", "download_mode"]
    assert list(inspect.signature(original).parameters) == parameters, advice + "how a packaged builder is found"
    assert callable(original.get_module), advice + "how the factory returns a module"
    names = ["module_path", "hash", "builder_kwargs", "builder_configs_parameters", "dataset_infos"]
    assert [field.name for field in fields(DatasetModule)] == names, advice + "how a module is described"
    path, source_hash = datasets.load._PACKAGED_DATASETS_MODULES["csv"]
    assert path == "datasets.packaged_modules.csv.csv", advice + "how packaged builders are listed"
    assert isinstance(source_hash, str), advice + "how packaged builders are listed"


def test_without_the_private_parts_there_is_a_warning(monkeypatch):
    monkeypatch.delattr(datasets.load, "PackagedDatasetModuleFactory")
    with pytest.warns(UserWarning, match=f"tested with datasets {TESTED}.*use mmsent.load_corpus"):
        register()


def test_other_names_still_work(tmp_path, load):
    files = tmp_path / "files"
    files.mkdir()
    (files / "train.csv").write_text("a,b\n1,2\n")
    (files / "test.csv").write_text("a,b\n3,4\n")
    rows = load("csv", data_dir=str(files))
    assert (rows["train"][0], rows["test"][0]) == ({"a": 1, "b": 2}, {"a": 3, "b": 4})
    assert load("csv", data_files=str(files / "test.csv"))["train"][0] == {"a": 3, "b": 4}


@pytest.mark.parametrize("name", sorted(set(CORPORA) - {"posts"}))
def test_data_files_are_refused(name, tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=f"{name} takes data_dir"):
        load_dataset(name, data_files=str(tmp_path / "a.txt"))


def test_configs_are_listed():
    assert datasets.get_dataset_config_names("mvsa_single") == ["clmlf", "clmlf_clean", "random", "random_clean"]
    assert datasets.get_dataset_default_config_name("mvsa_single") == "clmlf"
