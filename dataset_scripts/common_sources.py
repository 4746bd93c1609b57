"""Load posts: a corpus by its name, a table, a folder of tables, or a dataset on disk or on the Hub."""

from pathlib import Path

import pyarrow.parquet as pq
from datasets import ClassLabel, DatasetDict, Features, IterableDatasetDict, List, load_dataset, load_from_disk

from .common_loading import CORPORA, load_corpus
from .common_rows import TABLES
from .common_schema import features
from .posts.files import find_tables
from .posts.mapping import to_posts

SAVED = ("dataset_dict.json", "state.json")  # `save_to_disk` writes one of these.


def load_source(
    source: str,
    config: str | None = None,
    *,
    data_dir: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    **options,
) -> DatasetDict | IterableDatasetDict:
    """Load posts with the columns that all corpora share.

    Args:
        source: One of `CORPORA`; a CSV, TSV, JSONL or Parquet file; a folder of such files, or one that
            `mmsent export` or `save_to_disk` wrote; or the Hub id of a dataset.
        config: Config of the corpus or of the dataset on the Hub.
        data_dir: Folder of the corpus as its authors ship it.
        options: Options of the corpus. For everything that is not a corpus by name, those of `PostsConfig`.

    Raises:
        ValueError: If the posts cannot be read.
        OSError: If a file or folder does not exist.
    """
    how = {"streaming": streaming, "num_proc": num_proc}
    if source in CORPORA:
        return load_corpus(source, config, data_dir=data_dir, **how, **options)
    path = Path(source).expanduser()
    if path.is_file() or path.suffix.lower() in TABLES:
        return load_corpus("posts", config, data_files=path, **how, **options)
    if path.is_dir():
        if any((path / name).exists() for name in SAVED):
            return to_posts(load_from_disk(str(path)), **options)
        if options or not has_shared_columns(path):
            return load_corpus("posts", config, data_dir=path, **how, **options)
    elif "/" not in source:
        raise ValueError(
            f"dataset '{source}' is not one of {', '.join(CORPORA)}, and not a table ({', '.join(TABLES)}), a folder "
            "or a Hub id either."
        )
    dataset = load_dataset(source, config, data_dir=data_dir, streaming=streaming)
    return (
        dataset if not options and _are_shared(next(iter(dataset.values())).features) else to_posts(dataset, **options)
    )


def has_shared_columns(folder: Path) -> bool:
    """Return whether a folder holds Parquet files with the columns of our corpora, or no table that we know."""
    try:
        path = next(iter(find_tables(folder).values()))[0]
    except FileNotFoundError:
        return True  # `load_dataset` knows more forms
    return path.suffix.lower() == ".parquet" and _are_shared(Features.from_arrow_schema(pq.read_schema(path)))


def _are_shared(columns: Features | None) -> bool:
    if not set(features()) <= set(columns or ()):
        return False
    return isinstance(columns["label"], ClassLabel) and isinstance(columns["images"], List)
