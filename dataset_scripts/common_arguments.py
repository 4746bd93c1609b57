"""Command-line arguments that name a corpus and its options."""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from datasets import DatasetDict, config
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import httpx
from pyarrow import ArrowException
from safetensors import SafetensorError

from .common_files import name_full_disk
from .common_loading import CORPORA
from .common_sources import load_source

# What wrong arguments, files and connections raise. Other errors are defects of the program and show a traceback.
USER_ERRORS = (
    *(ValueError, OSError, ImportError, ArrowException, DatasetsError, SafetensorError, httpx.HTTPError),
    StrictDataclassError,  # a field of a config has another type
)


class _Loader(yaml.SafeLoader):
    """Read `1e-5` as a number, as YAML 1.2 does. YAML 1.1 requires a dot and a sign: `1.0e-5`."""

    def construct_mapping(self, node, deep=False):
        """Refuse a key that occurs twice, of which YAML would take the last."""
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if isinstance(key, str) and keys.count(key) > 1})
        if twice:
            raise ValueError(f"two entries for {', '.join(twice)}; remove one of them")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "+-0123456789")


def read_yaml(text: str) -> Any:
    """Read the value that a YAML text holds.

    Raises:
        ValueError: If it is not YAML, or too deeply nested.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{text[:80]!r} is not YAML that can be read: {error}") from error


def parse_name_values(words: list[str]) -> dict[str, Any]:
    """Parse words of the form NAME=VALUE: `["classes=10", "language=german"]` gives
    `{"classes": 10, "language": "german"}`. Values are read as YAML.

    Raises:
        ValueError: If a word has no "=", or the value cannot be read.
    """
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} does not have the form NAME=VALUE")
        with naming(name):
            values[name] = read_yaml(value)
    return values


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a corpus. `load_named_corpus` loads the corpus that they name."""
    parser.add_argument(
        "name", help=f"corpus ({', '.join(CORPORA)}), or a table or folder of your own posts, for example posts.csv"
    )
    parser.add_argument("--data_dir", help="folder of the corpus as its authors ship it")
    parser.add_argument("--config", help="split scheme of the corpus, for example random or clmlf_clean")
    parser.add_argument(
        "--options", nargs="*", default=[], metavar="NAME=VALUE", help="options of the corpus, for example classes=10"
    )
    parser.add_argument("--num_proc", type=int, help="number of processes that build the corpus")


def load_named_corpus(args: argparse.Namespace) -> DatasetDict:
    """Load the corpus that the arguments of `add_corpus_arguments` name.

    Raises:
        ValueError: If an option does not have the form NAME=VALUE, or the corpus cannot be read.
        OSError: If a folder or file of the corpus does not exist.
    """
    options = parse_name_values(args.options)
    with name_full_disk(Path(config.HF_DATASETS_CACHE)):
        return load_source(args.name, args.config, data_dir=args.data_dir, num_proc=args.num_proc, **options)


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """Put the name of an argument before the message of an error that its value causes."""
    try:
        yield
    except USER_ERRORS as error:
        raise ValueError(f"{argument}: {_cause(error)}") from error


def _cause(error: Exception) -> BaseException:
    """Return the error of a corpus, which `datasets` hides behind one that says that there was an error."""
    return error.__cause__ if isinstance(error, DatasetsError) and error.__cause__ else error


@contextmanager
def exit_with_one_line(prog: str) -> Iterator[None]:
    """Print an error that the user can correct as one line, and end the process with the exit code 2.

    If the environment variable `MMSENT_DEBUG` is set, the traceback is shown instead.
    """
    try:
        yield
    except USER_ERRORS as error:
        if os.environ.get("MMSENT_DEBUG"):
            raise
        cause = _cause(error)
        message = " ".join(str(cause).split()) or type(cause).__name__
        print(f"{prog}: error: {message}", file=sys.stderr)
        sys.exit(2)
