"""What `train.py` can be told: the command line's arguments, and the recipes that hold them in YAML."""

import argparse
import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from huggingface_hub.constants import HF_ASSETS_CACHE
from transformers import HfArgumentParser, TrainingArguments

from mmsent.dataset_scripts import CORPORA
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_encoders import OWN_IMAGE_ENCODERS


@dataclass
class ModelArguments:
    architecture: Literal[tuple(ARCHITECTURES)] = field(default="comn", metadata={"help": "Which architecture."})
    text_encoder: str = field(
        default="word_vectors",
        metadata={"help": "'word_vectors', or Hub id or folder of a transformer or of a trained model."},
    )
    image_encoder: str = field(
        default="small_cnn",
        metadata={
            "help": f"One of {', '.join(OWN_IMAGE_ENCODERS)}, or Hub id or folder of a timm or transformers backbone "
            "or of a trained model."
        },
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "GloVe or word2vec text file that the word vectors begin from."}
    )
    lora_rank: int | None = field(
        default=None,
        metadata={"help": "Train a LoRA adapter of this rank on the encoders' attention, and the rest whole."},
    )
    lora_alpha: float | None = field(default=None, metadata={"help": "LoRA's alpha; twice the rank unless given."})
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a trained model to start from, with its encoders and processor; model_kwargs "
            "change its config, and what they change the shape of is new."
        },
    )
    model_kwargs: list[str] = field(
        default_factory=list,
        metadata={"help": "Fields of the architecture's config as NAME=VALUE, say hops=3.", "action": "extend"},
    )
    processor_kwargs: list[str] = field(
        default_factory=list,
        metadata={"help": "Arguments of the processor as NAME=VALUE, say max_length=80.", "action": "extend"},
    )


@dataclass
class DataArguments:
    dataset: str = field(
        default="sample_posts",
        metadata={"help": f"One of {', '.join(CORPORA)}, or a folder or Hub id of Parquet files with their columns."},
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Which splits of the corpus, say 'random' or 'clmlf_clean'."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder of the corpus as its authors ship it."})
    dataset_kwargs: list[str] = field(
        default_factory=list,
        metadata={"help": "Options of the corpus as NAME=VALUE, say substitute_target=true.", "action": "extend"},
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read posts as they come and keep them nowhere, for --max_steps steps: for corpora larger than "
            "the disk."
        },
    )
    on_bad_image: Literal["error", "skip", "missing"] = field(
        default="error",
        metadata={
            "help": "An image that cannot be decoded stops the run, or its post is left out, or counts as absent."
        },
    )
    modalities: Literal["both", "text", "image"] = field(
        default="both", metadata={"help": "Which parts of a post the model is given, in training and evaluation."}
    )
    image_augmentation: list[str] = field(
        default_factory=list,
        metadata={
            "help": "What is done to training images, anew each time they are read; crop is after padding.",
            "choices": ["flip", "crop", "erase"],
        },
    )
    text_augmentation: str | None = field(
        default=None,
        metadata={"help": "Column with the text in other words, which training reads every second time."},
    )
    min_confidence: float | None = field(
        default=None,
        metadata={
            "help": "Train only on posts whose label the model that init_from names gives a higher probability (the "
            "MVSO study: 0.6)."
        },
    )
    cache_features: bool = field(
        default=False,
        metadata={"help": "Run the encoders that are frozen once, before training, and keep their output on disk."},
    )
    features_dir: str = field(
        default=str(Path(HF_ASSETS_CACHE, "mmsent", "features")),
        metadata={"help": "Where that output is kept, for every run that asks for the same."},
    )
    features_dtype: Literal["float32", "float16"] = field(
        default="float32", metadata={"help": "Its numbers; float16 takes half the space and rounds to three digits."}
    )


@dataclass
class RunArguments(TrainingArguments):
    """transformers' TrainingArguments, with defaults that suit these models."""

    output_dir: str | None = field(default="", metadata={"help": "Where; else runs/<dataset>-<architecture>."})
    overwrite: bool = field(default=False, metadata={"help": "Replace the trained model that output_dir holds."})
    num_train_epochs: float = 12
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 64
    learning_rate: float = 1e-3
    lr_scheduler_type: str = "constant"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    logging_strategy: str = "epoch"
    save_total_limit: int | None = 1
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = field(
        default="accuracy", metadata={"help": "Score on the validation split that picks the epoch."}
    )
    text_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the text encoder, where it is not that of the rest."}
    )
    text_from_epoch: float = field(
        default=0, metadata={"help": "Train the text encoder from this epoch on only (CLMLF and MDSE: from 20)."}
    )
    image_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the image encoder, where it is not that of the rest."}
    )
    image_from_epoch: float = field(
        default=0, metadata={"help": "Train the image encoder from this epoch on only; before, it is as if frozen."}
    )
    rest_until_epoch: float | None = field(
        default=None, metadata={"help": "Train all but the text encoder until this epoch only (MDSE's code: 20)."}
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "help": "Weights of the classes in cross-entropy: one number each, in the order of the labels, or "
            "'balanced' for the same total weight of each class in the training split."
        },
    )
    lr_decay: float | None = field(
        default=None, metadata={"help": "Multiply learning rates by this every lr_decay_steps (Deep Fusion: 0.96)."}
    )
    lr_decay_steps: int = field(default=3000, metadata={"help": "Steps between two such multiplications."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better one."}
    )
    restore_callback_states_from_checkpoint: bool = True  # of early stopping: how long there was no better score
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    label_names: list[str] | None = field(default_factory=lambda: ["labels"])


def parse_arguments(argv: list[str], description: str) -> tuple[ModelArguments, DataArguments, RunArguments]:
    """Parse the command line, and before it the recipe that its `--config` names; what comes later wins.

    An unknown name, a wrong type or an unreadable recipe ends the program with a message and exit code 2.
    """
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, RunArguments), description=description, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="RECIPE", help="YAML file of arguments; the command line overrides it.")
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    config = finder.parse_known_args(argv)[0].config
    if config is not None:
        argv = _read_recipe(config, parser) + argv
    model_args, data_args, run_args, _, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        parser.error(_unknown(unknown[0].removeprefix("--"), parser))
    run_args.output_dir = run_args.output_dir or f"runs/{Path(data_args.dataset).name}-{model_args.architecture}"
    return model_args, data_args, run_args


def _read_recipe(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """A recipe as the command line that says the same."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"recipe {path}: {error}")
    if not isinstance(recipe, dict):
        parser.error(f"recipe {path} holds no 'key: value' lines")
    argv = []
    for key, value in recipe.items():
        if f"--{key}" not in parser._option_string_actions:
            parser.error(f"recipe {path}: {_unknown(str(key), parser)}")
        if key in ("model_kwargs", "processor_kwargs", "dataset_kwargs"):
            words = [f"{name}={json.dumps(entry)}" for name, entry in value.items()]
        elif isinstance(value, dict):
            words = [json.dumps(value)]
        else:
            words = [str(entry) for entry in (value if isinstance(value, list) else [value])]
        argv += [f"--{key}", *words]
    return argv


def _unknown(key: str, parser: argparse.ArgumentParser) -> str:
    owners = [name for name, row in ARCHITECTURES.items() if key in row.config.__dataclass_fields__]
    if owners:
        return f"unknown key '{key}'; as a field of {', '.join(owners)} it belongs under model_kwargs"
    names = [flag.removeprefix("--") for flag in parser._option_string_actions]
    near = difflib.get_close_matches(key, names, n=1)
    return f"unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "; see --help")


def parse_kwargs(words: list[str]) -> dict[str, Any]:
    """`["hops=3", "cross=none"]` -> `{"hops": 3, "cross": "none"}`, values read as YAML.

    Raises:
        ValueError: a word without "=".
    """
    kwargs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' is not of the form NAME=VALUE")
        kwargs[name] = yaml.safe_load(value)
    return kwargs
