"""The arguments of train.py."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import DynamoBackend
from huggingface_hub.constants import HF_ASSETS_CACHE
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_columns import FIELDS
from mmsent.evaluation.sentiment.sentiment import MEASURES
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import OWN_IMAGE_ENCODERS

LARGEST = sys.float_info.max
COUNT, POSITIVE, NOT_NEGATIVE, SHARE = (1, LARGEST), (sys.float_info.min, LARGEST), (0, LARGEST), (0, 1)
BELOW_ONE, SEED = (0, 1 - sys.float_info.epsilon), (0, 2**32 - 1)
# The lowest and the highest value of each number; infinity and NaN are never allowed.
RANGES = {
    **dict.fromkeys(("lora_rank", "lr_decay_steps", "early_stopping_patience", "gradient_accumulation_steps"), COUNT),
    **dict.fromkeys(("search", "dataloader_prefetch_factor"), COUNT),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), COUNT),
    **dict.fromkeys(("lora_alpha", "num_train_epochs", "lr_decay", "adam_epsilon"), POSITIVE),
    **dict.fromkeys(("neftune_noise_alpha",), POSITIVE),
    **dict.fromkeys(("learning_rate", "text_learning_rate", "image_learning_rate", "weight_decay"), NOT_NEGATIVE),
    **dict.fromkeys(("text_from_epoch", "image_from_epoch", "rest_until_epoch"), NOT_NEGATIVE),
    **dict.fromkeys(("max_grad_norm", "warmup_steps", "dataloader_num_workers"), NOT_NEGATIVE),
    **dict.fromkeys(("min_confidence", "label_smoothing_factor"), SHARE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), BELOW_ONE),
    **dict.fromkeys(("eval_steps", "logging_steps", "save_steps"), POSITIVE),
    "max_steps": (-1, LARGEST),
    **dict.fromkeys(("seed", "data_seed"), SEED),
}
CHOICES = {
    **dict.fromkeys(("eval_strategy", "logging_strategy"), IntervalStrategy),
    **{"save_strategy": SaveStrategy, "lr_scheduler_type": SchedulerType, "optim": OptimizerNames},
    "hub_strategy": HubStrategy,
}
FILES = ("accelerator_config", "deepspeed", "fsdp_config")  # or a JSON object
OBJECTS = ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
METRICS = ("loss", "accuracy", *(f"{mean}_{measure}" for measure in MEASURES for mean in ("macro", "weighted")))


def check_ranges(arguments) -> None:
    """Check the numbers of a dataclass of arguments.

    Raises:
        ValueError: If a number is outside of its range in `RANGES`.
    """
    for name, (lowest, highest) in RANGES.items():
        value = getattr(arguments, name, None)
        if isinstance(value, int | float) and not lowest <= value <= highest:
            bounds = {COUNT: "1 or more", POSITIVE: "positive", NOT_NEGATIVE: "0 or more"}
            bounds[BELOW_ONE] = "0 or more and below 1"
            expected = bounds.get((lowest, highest), f"between {lowest} and {highest}")
            raise ValueError(f"{name}={value}: give a finite number that is {expected}.")


def check_class_weights(words: list[str] | None) -> None:
    """Check that the class weights are `["balanced"]` or finite numbers that are not negative."""
    try:
        valid = words in (None, ["balanced"]) or all(0 <= float(word) <= LARGEST for word in words)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"class_weights={' '.join(words)}: give 'balanced', or one number per class, 0 or more.")


def check_choices(arguments) -> None:
    """Check the arguments of transformers that are one of several words, a file or a JSON object.

    transformers ignores some wrong values, finds others after the model is built, or does not name the argument.

    Raises:
        ValueError: If one is something else.
    """
    for name, choices in CHOICES.items():
        value = getattr(arguments, name)
        if value not in list(choices):
            raise ValueError(f"{name}={value}: give one of {', '.join(choice.value for choice in choices)}.")
    for name in (*FILES, *OBJECTS):
        value = getattr(arguments, name)
        if isinstance(value, str) and not (name in FILES and Path(value).is_file()):
            try:
                valid = isinstance(json.loads(value), dict)
            except json.JSONDecodeError:
                valid = False
            if not valid:
                kind = "a JSON file or object" if name in FILES else "a JSON object"
                raise ValueError(f"{name}={value}: give {kind}.")
    names = arguments.report_to if isinstance(arguments.report_to, list) else [arguments.report_to or "none"]
    known = ["none", "all", *get_available_reporting_integrations()]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"report_to={unknown[0]} is unknown or not installed; give one of {', '.join(known)}.")
    backend = arguments.torch_compile_backend
    if backend is not None and backend.upper() not in DynamoBackend.list():
        raise ValueError(f"torch_compile_backend={backend}: give one of {', '.join(DynamoBackend.list()).lower()}.")
    if arguments.use_liger_kernel:
        raise ValueError("use_liger_kernel: Liger has no kernels for these models.")
    if arguments.max_steps == 0:
        raise ValueError("max_steps=0: give a number of steps, or -1 to train for num_train_epochs.")


def check_metric(name: str | None, label_names: list[str] | None = None) -> None:
    """Check the name of the score that selects the epoch.

    Args:
        label_names: The classes, if they are known. Otherwise the precision, recall and F1 of any class pass.

    Raises:
        ValueError: If an evaluation does not have this score.
    """
    name, prefixes = (name or "loss").removeprefix("eval_"), tuple(f"{measure}_" for measure in MEASURES)
    known = [*METRICS, *(prefix + label for prefix in prefixes for label in label_names or ["<class>"])]
    if name not in known and not (label_names is None and name.startswith(prefixes)):
        raise ValueError(f"metric_for_best_model={name}: give one of {', '.join(known)}.")


def name_values(help: str):
    """Return the field of an argument that takes words of the form NAME=VALUE, and more of them after a recipe's."""
    return HfArg(default_factory=list, help=help, metadata={"action": "extend"})


def column_of(field: str):
    """Return the field of an argument that names the column of a part of a post."""
    usual = ", ".join(FIELDS[field][1])
    several = ", or several" if field == "images" else ""
    return HfArg(default=None, help=f"Column of a table's {field}{several}; 'none'; or by default one of {usual}.")


@dataclass
class ModelArguments:
    """The arguments that describe the model and its processor."""

    architecture: Literal[tuple(ARCHITECTURES)] = HfArg(default="comn", help="Architecture to train.")
    text_encoder: str = HfArg(
        default="word_vectors", help="'word_vectors', or the Hub id or folder of a transformer or of a trained model."
    )
    image_encoder: str = HfArg(
        default="small_cnn",
        help=f"One of {', '.join(OWN_IMAGE_ENCODERS)}, or the Hub id or folder of a timm or transformers backbone or "
        "of a trained model; 'precomputed' reads the column image_features, vectors of image_hidden_size numbers.",
    )
    further_image_encoders: list[str] = name_values(
        "Further image encoders of an architecture that has several, as NAME=ID or NAME=FOLDER, for example "
        "scene=FOLDER of multi_sentinet; by default each starts as image_encoder does. All read the images as the "
        "processor of image_encoder makes them."
    )
    word_vectors: str | None = HfArg(default=None, help="GloVe or word2vec text file of the initial word vectors.")
    lora_rank: int | None = HfArg(default=None, help="Rank of a LoRA adapter on the pretrained encoders' attention.")
    lora_alpha: float | None = HfArg(default=None, help="Alpha of LoRA; twice the rank by default.")
    init_from: str | None = HfArg(
        default=None,
        help="Hub id or folder of a trained model to start from, with its encoders and processor. model_kwargs change "
        "its config; weights whose shape changes are initialized anew.",
    )
    model_kwargs: list[str] = name_values("Fields of the architecture's config as NAME=VALUE, for example hops=3.")
    processor_kwargs: list[str] = name_values("Arguments of the processor as NAME=VALUE, for example max_length=80.")

    def __post_init__(self):
        check_ranges(self)


@dataclass
class DataArguments:
    """The arguments that describe the corpus and how its posts are read."""

    dataset: str = HfArg(
        default="sample_posts",
        help=f"One of {', '.join(CORPORA)}; a table of your posts (CSV, TSV, JSONL, Parquet) or a folder of tables; "
        "or the Hub id of a dataset.",
    )
    dataset_config: str | None = HfArg(default=None, help="Config of the corpus: its splits, for example 'random'.")
    data_dir: str | None = HfArg(default=None, help="Folder of the corpus as its authors ship it.")
    dataset_kwargs: list[str] = name_values("Options of the corpus as NAME=VALUE, for example substitute_target=true.")
    text_column: str | None = column_of("text")
    image_columns: list[str] | None = column_of("images")
    image_features_column: str | None = column_of("image_features")
    label_column: str | None = column_of("label")
    aspect_column: str | None = column_of("aspect")
    caption_column: str | None = column_of("caption")
    tree_column: str | None = column_of("tree")
    id_column: str | None = column_of("id")
    group_column: str | None = column_of("group")
    split_column: str | None = column_of("split")
    image_dir: str | None = HfArg(default=None, help="Folder of relative image paths; that of the table by default.")
    allow_absolute_paths: bool = HfArg(default=False, help="Allow images of a table outside of image_dir.")
    streaming: bool = HfArg(default=False, help="Read the posts as a stream, without storing them; needs --max_steps.")
    on_bad_image: Literal["error", "skip", "missing"] = HfArg(
        default="error",
        help="What to do about an image that cannot be decoded: 'error' stops the run, 'skip' leaves its post out, "
        "'missing' keeps the post without the image.",
    )
    modalities: Literal["both", "text", "image"] = HfArg(
        default="both",
        help="Parts of a post that the model reads, in training and in evaluation; by default those that the "
        "architecture reads.",
    )
    image_augmentation: list[str] = HfArg(
        default_factory=list,
        help="Random changes of the training images, drawn anew in every epoch.",
        metadata={"choices": ["flip", "crop", "erase", "rand_augment"]},
    )
    text_augmentation: str | None = HfArg(
        default=None, help="Column with a paraphrase of the text, which replaces it at random in half of the epochs."
    )
    synonyms: str | None = HfArg(
        default=None,
        help="Replace a tenth of the words of training texts by synonyms, drawn anew in every epoch: 'wordnet', or a "
        "text file with one group of synonyms per line, separated by commas.",
    )
    min_confidence: float | None = HfArg(
        default=None,
        help="Train only on posts to whose label the model of init_from gives a higher probability (MVSO: 0.6).",
    )
    keep_progressively: bool = HfArg(
        default=False,
        help="Train only on posts that are drawn by how far apart the two highest scores of the model of init_from "
        "are (PCNN).",
    )
    cache_features: bool = HfArg(
        default=False, help="Run the frozen encoders once, before the training, and store their output on the disk."
    )
    features_dir: str = HfArg(
        default=str(Path(HF_ASSETS_CACHE, "mmsent", "features")),
        help="Folder of the stored output. All runs can share it.",
    )
    features_dtype: Literal["float32", "float16"] = HfArg(
        default="float32", help="Type of the stored numbers; float16 takes half the space and keeps three digits."
    )

    def __post_init__(self):
        check_ranges(self)

    def table_options(self) -> dict[str, Any]:
        """Return the arguments that say how a table is read, as far as they were given, as options of the corpus."""
        names = [*(option for option, _ in FIELDS.values()), "image_dir", "allow_absolute_paths"]
        return {name: getattr(self, name) for name in names if getattr(self, name, None)}


@dataclass
class RunArguments(TrainingArguments):
    """transformers' TrainingArguments, with defaults that suit these models."""

    output_dir: str | None = HfArg(default="", help="Folder of the run; runs/<dataset>-<architecture> by default.")
    overwrite: bool = HfArg(default=False, help="Replace the trained model that output_dir holds.")
    preset: Literal["fast", "balanced", "best"] | None = HfArg(
        default=None,
        help="Choose the architecture, the encoders and the schedule by the corpus and the hardware, and print the "
        "choice: 'fast' needs no pretrained encoder, 'balanced' has two small frozen ones, 'best' trains them.",
    )
    published: list[str] = HfArg(
        default_factory=list,
        help="Rows of the papers' tables that the run repeats, as PAPER/TABLE/ROW; the card quotes their figures.",
    )
    search: int | None = HfArg(
        default=None, help="Number of settings to try on the validation posts before the training; needs Optuna."
    )
    search_space: list[str] = HfArg(
        default_factory=list,
        help="Values to try, as NAME=LOW..HIGH or NAME=A,B,C; by default learning rates, weight decay and dropout.",
    )
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
    metric_for_best_model: str | None = HfArg(
        default="accuracy",
        help="Validation score that selects the epoch, such as loss, accuracy, macro_f1 or recall_negative.",
    )
    text_learning_rate: float | None = HfArg(default=None, help="Rate of the text encoder; default: learning_rate.")
    text_from_epoch: float = HfArg(default=0, help="Freeze the text encoder before this epoch (CLMLF, MDSE: 20).")
    image_learning_rate: float | None = HfArg(default=None, help="Rate of the image encoder; default: learning_rate.")
    image_from_epoch: float = HfArg(default=0, help="Freeze the image encoder before this epoch.")
    rest_until_epoch: float | None = HfArg(default=None, help="Train only the text encoder from this epoch on.")
    class_weights: list[str] | None = HfArg(
        default=None,
        help="Weights of the classes in the cross-entropy: one number per class, in the order of the labels, or "
        "'balanced', which gives every class the same total weight in the training split.",
    )
    lbfgs: bool = HfArg(
        default=False,
        help="Train on all posts at once with L-BFGS, 20 iterations per epoch: finds the optimum of a logistic "
        "regression on frozen encoders. weight_decay is then its L2 penalty, 1 / (C * posts) of scikit-learn's C.",
    )
    lr_decay: float | None = HfArg(default=None, help="Factor on the learning rates every lr_decay_steps steps.")
    lr_decay_steps: int = HfArg(default=3000, help="Number of steps between two uses of lr_decay.")
    calibrate: bool = HfArg(
        default=True,
        help="Fit the temperature of the scores on the validation posts after the training; the predictions stay.",
    )
    early_stopping_patience: int | None = HfArg(default=None, help="Evaluations without improvement until the stop.")
    restore_callback_states_from_checkpoint: bool = True  # early stopping counts evaluations across an interruption
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    label_names: list[str] | None = HfArg(default_factory=lambda: ["labels"])

    def __post_init__(self):
        check_ranges(self)
        check_class_weights(self.class_weights)
        check_choices(self)
        check_metric(self.metric_for_best_model)
        super().__post_init__()
