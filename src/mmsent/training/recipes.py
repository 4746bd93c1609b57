"""Parse the command line of train.py and the recipe that it names."""

import argparse
import difflib
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import yaml
from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import HfArgumentParser

from mmsent.dataset_scripts.common_arguments import read_yaml
from mmsent.dataset_scripts.common_files import read_bytes
from mmsent.dataset_scripts.common_rows import TABLES
from mmsent.modeling import ARCHITECTURES

from .arguments import DataArguments, ModelArguments, RunArguments

ARGUMENTS = (ModelArguments, DataArguments, RunArguments)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage, which is that of more than a hundred arguments."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


class RunParser(OneLineParser, HfArgumentParser):
    """The parser of the arguments of train.py."""


def parse_arguments(
    argv: list[str], description: str, preset: dict[str, Any] | None = None
) -> tuple[ModelArguments, DataArguments, RunArguments]:
    """Parse the command line. The recipe that `--config` names, or its row that `--row` names, sets the defaults,
    before those of a preset.

    An unknown name, a wrong type or an unreadable recipe ends the program with a message and exit code 2.
    """
    parser = RunParser(ARGUMENTS, description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="RECIPE", help="YAML file of arguments, which the command line overrides.")
    parser.add_argument("--row", metavar="NAME", help="Row of a recipe that has several.")
    recipe_parser = OneLineParser(add_help=False, allow_abbrev=False)
    recipe_parser.add_argument("--config", type=Path)
    recipe_parser.add_argument("--row")
    named = recipe_parser.parse_known_args(argv)[0]
    defaults = dict(preset or {})
    if named.config is not None:
        try:
            values = _typed_values(select_row(named.config, named.row), parser)
        except (OSError, ValueError, yaml.YAMLError, StrictDataclassFieldValidationError) as error:
            parser.error(f"recipe {named.config}: {error}")
        for name in ("model_kwargs", "processor_kwargs"):  # words that extend those of a preset
            values[name] = [*defaults.get(name, []), *values.get(name, [])]
        defaults |= values
    elif named.row is not None:
        parser.error(f"row {named.row}: name its recipe with --config.")
    parser.set_defaults(**defaults)
    try:
        model_args, data_args, run_args, _, unknown = parser.parse_args_into_dataclasses(
            argv, return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as error:
        parser.error(str(error))
    if unknown:
        parser.error(_unknown_key(unknown[0].removeprefix("--"), parser))
    path = Path(data_args.dataset)
    corpus = path.stem if path.suffix.lower() in TABLES else path.name
    if unfit := hide_unread(model_args, data_args):
        parser.error(unfit)
    parts = [corpus, run_args.preset or model_args.architecture, *([named.row] if named.row else [])]
    run_args.output_dir = run_args.output_dir or f"runs/{'-'.join(dict.fromkeys(parts))}"
    return model_args, data_args, run_args


def hide_unread(model_args: ModelArguments, data_args: DataArguments) -> str | None:
    """Set `modalities` to what the architecture reads if it reads only one. Return an error if it is the other."""
    read = ARCHITECTURES[model_args.architecture].modalities
    if data_args.modalities not in ("both", *read):
        return f"modalities={data_args.modalities}: {model_args.architecture} reads only {read[0]}."
    if len(read) == 1:
        (data_args.modalities,) = read
    return None


def load_recipe(path: Path) -> dict[str | None, dict[str, Any]]:
    """Return the entries of each row of a recipe, by its name. A recipe without `rows` has one, whose name is None.

    A row has the entries that all rows share with those that it changes, name by name in mappings like `model_kwargs`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a recipe.
    """
    shared = read_yaml(read_bytes(path).decode("utf-8"))
    if not isinstance(shared, dict):
        raise ValueError("the file does not hold 'key: value' lines")
    rows = shared.pop("rows", {None: {}})
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise ValueError("rows: give the name of each row with the entries that it changes")
    return {name if name is None else str(name): _merge(shared, row) for name, row in rows.items()}


def _merge(shared: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    merged = shared | row
    for key in shared.keys() & row.keys():
        if isinstance(shared[key], dict) and isinstance(row[key], dict):
            merged[key] = shared[key] | row[key]
    return merged


def select_row(path: Path, row: str | None) -> dict[str, Any]:
    """Return the entries of a row of a recipe, or of a recipe without rows.

    Raises:
        ValueError: If the recipe does not have the row, or has rows and none is named.
    """
    rows = load_recipe(path)
    if row not in rows:
        known = "it has no rows" if None in rows else f"it has the rows {', '.join(rows)}"
        raise ValueError(f"{known}: " + ("name one with --row" if row is None else f"there is no row {row}"))
    return rows[row]


def _typed_values(recipe: dict[str, Any], parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the arguments that a recipe sets, each of the type of its field."""
    types = {name: hint for arguments in ARGUMENTS for name, hint in get_type_hints(arguments).items()}
    actions = {action.dest: action for action in reversed(parser._actions) if action.dest in types}
    values = {}
    for key, value in recipe.items():
        if key not in actions:
            raise ValueError(_unknown_key(str(key), parser))
        try:
            values[key] = _convert(value, actions[key])
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    validate_typed_dict(TypedDict("Recipe", types, total=False), values)
    return values


def _convert(value: Any, action: argparse.Action) -> Any:
    """Return the value of a recipe in the form that the parser gives to values of the command line."""
    if action.nargs == "+" and isinstance(value, dict):  # the mapping {hops: 3} stands for the word hops=3
        words = (f"{name}={yaml.safe_dump(entry, default_flow_style=True)}" for name, entry in value.items())
        return [word.removesuffix("...\n").rstrip("\n") for word in words]
    if action.nargs == "+" and value is not None:
        value = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    elif action.type is float and type(value) is int:
        value = float(value)
    for entry in (value if isinstance(value, list) else [value]) if action.choices else []:
        if entry not in action.choices:
            raise ValueError(f"{entry!r} is not one of {', '.join(action.choices)}")
    return value


def _unknown_key(key: str, parser: argparse.ArgumentParser) -> str:
    architectures = [name for name, row in ARCHITECTURES.items() if key in row.config.__dataclass_fields__]
    if architectures:
        return f"unknown key '{key}'; it is a field of {', '.join(architectures)} and belongs under model_kwargs"
    similar = difflib.get_close_matches(key, [action.dest for action in parser._actions], n=1)
    return f"unknown key '{key}'; " + (f"did you mean '{similar[0]}'?" if similar else "see --help")
