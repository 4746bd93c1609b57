"""The list of corpora, and `load_corpus`, which loads one of them."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from datasets import BuilderConfig, Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from mmsent.modeling import common_images, common_text

from .common_corpus import Corpus
from .common_files import content_hash

ROOT = Path(__file__).parent
# name of the corpus -> its folder, which holds a module of the same name, and the class there
CORPORA = {
    "msed": "msed.MSED",
    "multi_zol": "multi_zol.MultiZOL",
    "mvsa_multiple": "mvsa.MVSA",
    "mvsa_single": "mvsa.MVSA",
    "mvso": "mvso.MVSO",
    "posts": "posts.Posts",
    "sample_posts": "sample_posts.SamplePosts",
    "twitter2015": "twitter.Twitter",
    "twitter2017": "twitter.Twitter",
    "vso": "vso.VSO",
}
# The shared files that decide what a corpus holds.
SHARED_NAMES = (
    *("anp", "columns", "corpus", "files", "language", "leaks", "posts", "processes", "rows", "schema", "similarity"),
    *("splits", "tables"),
)
SHARED = [f"common_{name}.py" for name in SHARED_NAMES]
# The functions of the models that decide which posts a clean variant drops.
SHARED_MODELING = [Path(module.__file__) for module in (common_images, common_text)]
PACKAGES = ("imagehash", "pillow", "py3langid", "regex", "scipy")  # Others decide that, too.


def load_corpus(
    name: str,
    config: str | None = None,
    *,
    data_dir: str | Path | None = None,
    data_files: str | Path | Sequence | Mapping | None = None,
    split: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    cache_dir: str | Path | None = None,
    **options,
) -> DatasetDict | Dataset | IterableDatasetDict | IterableDataset:
    """Load a corpus. `datasets.load_dataset` with the same arguments gives the same rows, from the same cache.

    Args:
        name: One of `CORPORA`.
        config: Split scheme, for example "random" or "clmlf_clean"; the default one of the corpus if None.
        data_dir: Folder of the corpus as its authors ship it.
        data_files: Tables of `posts`: a file, several, or a dictionary of files by split.
        split: Name of a split; all splits if None.
        streaming: Whether to read posts when they are needed, without a cache.
        num_proc: Number of processes that build the corpus, unless it is streamed.
        cache_dir: Folder of the cache; that of `datasets` if None.
        options: Options of the corpus, for example `classes=10`.

    Raises:
        ValueError: If the corpus, the config or an option does not exist, or the release has errors.
        OSError: If a folder or file of the release does not exist.
    """
    if name not in CORPORA:
        raise ValueError(f"there is no corpus {name!r}; choose from {', '.join(CORPORA)}")
    check_options(name, config, options)
    arguments = builder_arguments(name, data_dir, data_files) | options
    builder = corpus_class(name)(cache_dir=cache_dir and str(cache_dir), config_name=config, **arguments)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset(split=split)


def check_options(name: str, config: str | None, options: Iterable[str]) -> None:
    """Check that a corpus has a config and options of these names.

    Raises:
        ValueError: If it has not. The message names those that there are.
    """
    corpus = corpus_class(name)
    configs = [row.name for row in corpus.BUILDER_CONFIGS] or ["default"]
    if config is not None and config not in configs:
        raise ValueError(f"{name} has no config {config!r}, only {', '.join(configs)}")
    fields = corpus.BUILDER_CONFIG_CLASS.__dataclass_fields__
    own = sorted(set(fields) - set(BuilderConfig.__dataclass_fields__))
    unknown = sorted(set(options) - set(own))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}, only {', '.join(own) or 'none'}")


def corpus_folder(name: str) -> Path:
    """Return the folder that holds the module, the card and the split files of a corpus."""
    return ROOT / CORPORA[name].partition(".")[0]


def corpus_class(name: str) -> type[Corpus]:
    """Return the class that builds a corpus."""
    folder, class_name = CORPORA[name].split(".")
    return getattr(import_module(f"{__package__}.{folder}.{folder}"), class_name)


def builder_arguments(
    name: str, data_dir: str | Path | None, data_files: str | Path | Sequence | Mapping | None = None
) -> dict:
    """Return the arguments of the class that builds a corpus, with the key of its cache as `hash`.

    The key depends on all that decides what the corpus holds: its source and the entries of `Corpus.INDEX`. `datasets`
    would list every file below `data_dir`, which takes 12 s for 20,000 images on every call. A folder counts by its
    time, which changes when files are added or removed.
    """
    arguments, paths = corpus_class(name).locate(name, data_dir, data_files)
    digest = hashlib.sha256(source_hash(name).encode())
    for path in paths:
        content = content_hash(path) if path.is_file() else ""
        digest.update(f"{path}\0{path.stat().st_mtime_ns}\0{content}\0".encode())
    # `load_dataset` requires `data_files`, even if there are none.
    return {"dataset_name": name, "data_files": {}, "hash": digest.hexdigest(), **arguments}


def source_hash(name: str) -> str:
    """Return the SHA-256 of the code of a corpus, the shared code, its split files and the versions of packages."""
    versions = [*(f"{package} {version(package)}" for package in PACKAGES), unicodedata.unidata_version]
    digest = hashlib.sha256("\0".join(versions).encode())
    for path in SHARED_MODELING:
        digest.update(f"{path.name}\0{content_hash(path)}\0".encode())
    own_files = sorted(path for path in corpus_folder(name).rglob("*") if path.suffix in (".py", ".txt"))
    for path in [*(ROOT / file for file in SHARED), *own_files]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
