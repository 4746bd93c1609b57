"""`datasets.load_dataset` with the names of our corpora."""

import functools
import warnings
from types import SimpleNamespace

import datasets

from .common_loading import CORPORA, builder_arguments, corpus_class

TESTED = "5.2.0"  # The release of `datasets` with which `register` was tested.


def register() -> None:
    """Make `datasets.load_dataset` load the names of `CORPORA`.

    This is the only function that uses private parts of `datasets`: it has no public way to add a builder. The
    factory of packaged builders is replaced, because it would list every file below `data_dir`. `load_corpus` needs
    no registration. A release of `datasets` without these parts gives a warning.
    """
    try:
        original, modules = datasets.load.PackagedDatasetModuleFactory, datasets.load._PACKAGED_DATASETS_MODULES
    except AttributeError:
        warnings.warn(
            f"load_dataset of datasets {datasets.__version__} cannot load the corpora of mmsent (tested with datasets "
            f"{TESTED}); use mmsent.load_corpus",
            stacklevel=2,
        )
        return

    @functools.wraps(original)
    def factory(name, data_dir=None, data_files=None, **kwargs):
        if name not in CORPORA:
            return original(name, data_dir=data_dir, data_files=data_files, **kwargs)
        arguments = builder_arguments(name, data_dir, data_files)
        module = datasets.load.DatasetModule(corpus_class(name).__module__, arguments.pop("hash"), arguments)
        return SimpleNamespace(get_module=lambda: module)

    modules.update(dict.fromkeys(CORPORA, ("", "")))  # Only the names are read.
    datasets.load.PackagedDatasetModuleFactory = factory
