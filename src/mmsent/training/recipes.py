"""Parse the command line of train.py and the recipe that it names, and check the arguments."""

import argparse
import difflib
from inspect import signature
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import yaml
from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig, HfArgumentParser

from mmsent.dataset_scripts.common_arguments import parse_name_values, read_yaml
from mmsent.dataset_scripts.common_rows import TABLES
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_processing import check_whole_number

from .arguments import DataArguments, ModelArguments, RunArguments
from .feature_cache import NEEDS_FROZEN
from .streaming import adapt_arguments

ARGUMENTS = (ModelArguments, DataArguments, RunArguments)


def parse_arguments(
    argv: list[str], description: str, preset: dict[str, Any] | None = None
) -> tuple[ModelArguments, DataArguments, RunArguments]:
    """Parse the command line. The recipe that `--config` names sets the defaults, before those of a preset.

    An unknown name, a wrong type or an unreadable recipe ends the program with a message and exit code 2.
    """
    parser = HfArgumentParser(ARGUMENTS, description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="RECIPE", help="YAML file of arguments, which the command line overrides.")
    recipe_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    recipe_parser.add_argument("--config", type=Path)
    recipe = recipe_parser.parse_known_args(argv)[0].config
    defaults = dict(preset or {})
    if recipe is not None:
        try:
            values = _read_recipe(recipe, parser)
        except (OSError, ValueError, yaml.YAMLError, StrictDataclassFieldValidationError) as error:
            parser.error(f"recipe {recipe}: {error}")
        for name in ("model_kwargs", "processor_kwargs"):  # words that extend those of a preset
            values[name] = [*defaults.get(name, []), *values.get(name, [])]
        defaults |= values
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
    run_args.output_dir = run_args.output_dir or f"runs/{corpus}-{run_args.preset or model_args.architecture}"
    return model_args, data_args, run_args


def _read_recipe(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the arguments that a recipe sets, each of the type of its field."""
    recipe = read_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        raise ValueError("the file does not hold 'key: value' lines")
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


def check_arguments(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments) -> None:
    """Check that the arguments agree with each other, and adapt those of a streamed run."""
    processor_arguments = signature(ARCHITECTURES[model_args.architecture].processor).parameters
    for name, value in parse_name_values(model_args.processor_kwargs).items():
        if name not in {*processor_arguments, "vocab_size", "image_size"}:
            raise ValueError(f"processor_kwargs {name}: the processor has no such argument.")
        sizes = ("max_length", "max_aspect_length", "max_images", "vocab_size", "image_size")
        if name in sizes and value is not None:
            check_whole_number(f"processor_kwargs {name}", value)
    if run_args.early_stopping_patience is not None and run_args.eval_strategy == "no":
        raise ValueError("early_stopping_patience needs evaluations: set eval_strategy to epoch or steps.")
    if data_args.cache_features:
        if data_args.image_augmentation or data_args.text_augmentation:
            raise ValueError("cache_features cannot be combined with augmentation, which changes the posts.")
        config = ARCHITECTURES[model_args.architecture].config
        if model_args.init_from is not None:
            config = AutoConfig.from_pretrained(model_args.init_from)
        kwargs = parse_name_values(model_args.model_kwargs)
        if not any(kwargs.get(name, getattr(config, name)) for name in ("freeze_text", "freeze_image")):
            raise ValueError(NEEDS_FROZEN)
    if data_args.streaming:
        conflicts = {
            "cache_features": data_args.cache_features,
            "min_confidence": data_args.min_confidence is not None,
            "train_sampling_strategy": run_args.train_sampling_strategy not in ("random", "sequential"),
        }
        for name in filter(conflicts.get, conflicts):
            raise ValueError(f"streaming cannot be combined with {name}, which needs all training posts at once.")
        adapt_arguments(run_args)
    if data_args.min_confidence is not None and model_args.init_from is None:
        raise ValueError("min_confidence needs init_from: an untrained model is confident of nothing.")
