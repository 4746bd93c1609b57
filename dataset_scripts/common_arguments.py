"""Command-line arguments that name a corpus and its options."""

import argparse
import re
from typing import Any

import yaml
from datasets import DatasetDict

from .common_loading import CORPORA, load_corpus


class _Loader(yaml.SafeLoader):
    """Read `1e-5` as a number, as YAML 1.2 does. YAML 1.1 requires a dot and a sign: `1.0e-5`."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "+-0123456789")


def read_yaml(text: str) -> Any:
    """Read the value that a YAML text holds."""
    return yaml.load(text, _Loader)


def parse_name_values(words: list[str]) -> dict[str, Any]:
    """Parse words of the form NAME=VALUE: `["classes=10", "language=german"]` gives
    `{"classes": 10, "language": "german"}`. Values are read as YAML.

    Raises:
        ValueError: If a word has no "=".
    """
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} does not have the form NAME=VALUE")
        values[name] = read_yaml(value)
    return values


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a corpus. `load_named_corpus` loads the corpus that they name."""
    parser.add_argument("name", choices=CORPORA, help="name of the corpus")
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
    return load_corpus(args.name, args.config, data_dir=args.data_dir, num_proc=args.num_proc, **options)
