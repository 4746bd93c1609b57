"""Corpora for `datasets.load_dataset`: importing this package makes their names known.

    import mmsent
    load_dataset("sample_posts")
    load_dataset("mvsa_single", data_dir="~/MVSA_Single")

To add a corpus, write its folder beside these (a builder on `corpus.Corpus`, `README.md`, `splits/`) and name
it below.
"""

import hashlib
from pathlib import Path

import datasets.load
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from .common_files import content_hash

ROOT = Path(__file__).parent
CORPORA = {
    "msed": "mmsent.dataset_scripts.msed.msed",
    "multi_zol": "mmsent.dataset_scripts.multi_zol.multi_zol",
    "mvsa_multiple": "mmsent.dataset_scripts.mvsa.mvsa",
    "mvsa_single": "mmsent.dataset_scripts.mvsa.mvsa",
    "mvso": "mmsent.dataset_scripts.mvso.mvso",
    "sample_posts": "mmsent.dataset_scripts.sample_posts.sample_posts",
    "twitter2015": "mmsent.dataset_scripts.twitter.twitter",
    "twitter2017": "mmsent.dataset_scripts.twitter.twitter",
    "vso": "mmsent.dataset_scripts.vso.vso",
}
SHARED = ("common_anp.py", "common_corpus.py", "common_files.py", "common_leaks.py", "common_tables.py")


def source_hash(module: str) -> str:
    """SHA-256 over all that decides what a corpus holds: its code, the shared code, its split files."""
    folder = ROOT / module.split(".")[2]
    sources = [ROOT / name for name in SHARED] + [*sorted(p for p in folder.rglob("*") if p.suffix in {".py", ".txt"})]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _state(path: Path) -> tuple[str, ...]:
    """What the cache key keeps of an index entry. A folder's time changes when files come or go in it."""
    modified = str(path.stat().st_mtime_ns)
    if not path.is_file():
        return (modified,)
    return (modified, content_hash(path))


class CorpusModuleFactory(datasets.load.PackagedDatasetModuleFactory):
    """Finds the builder of a corpus in `CORPORA`; every other name goes to `datasets` unchanged.

    The factory of `datasets` lists and stats every file below `data_dir` (12 s for 20,000 images, on every
    call), and without a `data_dir` every file below the working directory. A corpus here names its index
    instead (`Corpus.INDEX`): only those entries are looked at, and only they join the cache key.

    Raises:
        ValueError: `data_files` was given for one of our corpora.
    """

    def __init__(self, name, data_dir=None, data_files=None, **kwargs):
        if name in CORPORA:  # without super().__init__, which reports the load over the network
            self.name, self.data_dir, self.data_files = name, data_dir, data_files
        else:
            super().__init__(name, data_dir=data_dir, data_files=data_files, **kwargs)

    def get_module(self) -> datasets.load.DatasetModule:
        if self.name not in CORPORA:
            return super().get_module()
        if self.data_files is not None:
            raise ValueError(f"{self.name} takes data_dir=, the folder of its release, and not data_files=")
        module, source = _PACKAGED_DATASETS_MODULES[self.name]
        builder_kwargs = {"dataset_name": self.name, "data_files": DataFilesDict()}
        if self.data_dir is not None:
            folder = Path(self.data_dir).expanduser().resolve()
            found = []
            for name in datasets.load.import_main_class(module).INDEX:
                entries = sorted(folder.glob(name)) if "*" in name else [folder / name]
                found += [path for path in entries if path.exists()]
            files = DataFilesList([str(path) for path in found], [_state(path) for path in found])
            builder_kwargs |= {"data_dir": str(folder), "data_files": DataFilesDict(index=files)}
        return datasets.load.DatasetModule(module, source, builder_kwargs)


_PACKAGED_DATASETS_MODULES.update({name: (module, source_hash(module)) for name, module in CORPORA.items()})
datasets.load.PackagedDatasetModuleFactory = CorpusModuleFactory
