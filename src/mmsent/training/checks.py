"""Check the arguments of a run against each other and against the files that they name, before anything is built."""

import os
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, Trainer, get_scheduler

from mmsent.dataset_scripts.common_arguments import naming, parse_name_values
from mmsent.evaluation.published import check_published
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_encoders import OWN_ENCODERS
from mmsent.modeling.common_loading import check_lengths, load_processor
from mmsent.modeling.common_processing import check_whole_number
from mmsent.modeling.common_text import replace_lone_surrogates

from .arguments import DataArguments, ModelArguments, RunArguments
from .build import encoder_arguments, planned_config
from .feature_cache import NEEDS_FROZEN
from .streaming import adapt_arguments
from .synonyms import load_synonyms

COUNTS = ("max_length", "max_aspect_length", "max_images", "vocab_size", "image_size")
NEED_A_MODEL = ("galore", "apollo", "lomo")  # optimizers that cannot be made without the model


def check_arguments(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments) -> None:
    """Check the arguments by themselves, and adapt those of a streamed run.

    Raises:
        ValueError: If an argument is wrong. The message names it.
    """
    check_combinations(model_args, data_args, run_args)
    check_folder("output_dir", run_args.output_dir)
    check_optimization(run_args)
    processor_kwargs(model_args)


def check_model(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments) -> None:
    """Check the encoders or the trained model, whose configs and processors are read, and what is done with them.

    Raises:
        ValueError: If they cannot be used so. The message names the argument.
    """
    if data_args.synonyms is not None:
        with naming(f"synonyms={data_args.synonyms}"):
            load_synonyms(data_args.synonyms)
    config = planned_config(model_args)
    encoders = [name for name in ("text", "image") if name in ARCHITECTURES[model_args.architecture].reads]
    trained = [name for name in encoders if not getattr(config, f"freeze_{name}")]
    if data_args.cache_features:
        check_folder("features_dir", data_args.features_dir)
        if trained == encoders:
            raise ValueError(NEEDS_FROZEN)
    if run_args.lbfgs and (trained or getattr(config, "dropout", 0)):
        raise ValueError(
            "lbfgs needs frozen encoders and no dropout: model_kwargs freeze_text=true freeze_image=true."
        )
    names = [name for part in trained for name in (config.image_encoders if part == "image" else (part,))]
    pretrained = [name for name in names if getattr(config, f"{name}_config").model_type not in OWN_ENCODERS]
    needs = {"lora_rank": model_args.lora_rank, "activation_checkpointing": run_args.activation_checkpointing or None}
    for name, value in needs.items():
        if value is not None and not pretrained:
            raise ValueError(f"{name}={value} needs a pretrained encoder that is trained: see text_encoder.")
    loss = getattr(config, "loss", "cross_entropy")
    if loss != "cross_entropy" and (run_args.class_weights is not None or run_args.label_smoothing_factor):
        raise ValueError(f"class_weights and label_smoothing_factor apply to cross-entropy, but loss={loss}.")
    check_processor(model_args, config)


def check_combinations(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments) -> None:
    """Check arguments that exclude or need each other, and adapt those of a streamed run."""
    if run_args.resume_from_checkpoint is not None:
        raise ValueError(
            "resume_from_checkpoint: give the output_dir of the interrupted run, which continues from its latest "
            "checkpoint."
        )
    check_published(run_args.published)
    if run_args.early_stopping_patience is not None and run_args.eval_strategy == "no":
        raise ValueError("early_stopping_patience needs evaluations: set eval_strategy to epoch or steps.")
    if model_args.lora_alpha is not None and model_args.lora_rank is None:
        raise ValueError(f"lora_alpha={model_args.lora_alpha} needs lora_rank.")
    if model_args.word_vectors is not None and not Path(model_args.word_vectors).is_file():
        raise ValueError(f"word_vectors={model_args.word_vectors}: there is no such file.")
    changes = (data_args.image_augmentation, data_args.text_augmentation, data_args.synonyms)
    if data_args.cache_features and any(changes):
        raise ValueError("cache_features cannot be combined with augmentation, which changes the posts.")
    if data_args.streaming:
        conflicts = {
            "cache_features": data_args.cache_features,
            "lbfgs": run_args.lbfgs,
            "min_confidence": data_args.min_confidence is not None,
            "keep_progressively": data_args.keep_progressively,
            "train_sampling_strategy": run_args.train_sampling_strategy not in ("random", "sequential"),
        }
        for name in filter(conflicts.get, conflicts):
            raise ValueError(f"streaming cannot be combined with {name}, which needs all training posts at once.")
        adapt_arguments(run_args)
    rules = {
        "min_confidence": data_args.min_confidence is not None,
        "keep_progressively": data_args.keep_progressively,
    }
    chosen = [name for name, is_set in rules.items() if is_set]
    if chosen and model_args.init_from is None:
        raise ValueError(f"{chosen[0]} needs init_from: an untrained model is confident of nothing.")
    if len(chosen) > 1:
        raise ValueError("min_confidence and keep_progressively are two rules for the same posts: choose one.")
    if run_args.lbfgs and run_args.world_size > 1:
        raise ValueError("lbfgs needs all posts in one process: start one.")


def check_folder(argument: str, folder: str) -> None:
    """Check that a folder exists or can be made, and can be written to."""
    path = Path(folder)
    if replace_lone_surrogates(folder) != folder:  # safetensors could not write there, after all the work
        raise ValueError(f"{argument}={folder!a}: the name is not UTF-8.")
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise ValueError(f"{argument}={folder}: {existing} is a file, not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{argument}={folder}: you may not write into {existing}.")


def check_optimization(args: RunArguments) -> None:
    """Check that the optimizer and the schedule of the learning rate take their arguments."""
    weight = torch.zeros(1, requires_grad=True)
    wrong = (TypeError, ValueError, RuntimeError, ImportError)
    if not any(name in args.optim for name in NEED_A_MODEL):
        try:
            optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(args)
            optimizer([weight], **kwargs)
        except wrong as error:
            raise ValueError(f"optim={args.optim.value}, optim_args={args.optim_args}: {error}") from error
    plain, kwargs = torch.optim.SGD([weight], lr=args.learning_rate), args.lr_scheduler_kwargs
    try:
        get_scheduler(args.lr_scheduler_type, plain, 0, 10, scheduler_specific_kwargs=kwargs)
    except wrong as error:
        kind = args.lr_scheduler_type.value
        raise ValueError(f"lr_scheduler_type={kind}, lr_scheduler_kwargs={kwargs}: {error}") from error


def processor_kwargs(args: ModelArguments) -> dict[str, Any]:
    """Return the arguments of the processor after a check of their names and types."""
    row = ARCHITECTURES[args.architecture]
    with naming("processor_kwargs"):
        kwargs = parse_name_values(args.processor_kwargs)
    of_new = {"vocab_size", "pre_cut", "crop"}  # of a new processor only
    names = {*signature(row.processor).parameters, "image_size", *of_new} - {
        "tokenizer",
        "image_processor",
        "image_feature_size",
    }
    if args.init_from is not None:
        names -= of_new
    for name, value in kwargs.items():
        if name not in names:
            raise ValueError(f"processor_kwargs {name}: it is not one of {', '.join(sorted(names))}.")
        if name in COUNTS and value is not None:
            check_whole_number(f"processor_kwargs {name}", value)
        if name in ("pre_cut", "crop") and not isinstance(value, bool):
            raise ValueError(f"processor_kwargs {name}={value}: give true or false.")
        if name in ("text_steps", "aspect_steps") and not isinstance(value, list | None):
            raise ValueError(f"processor_kwargs {name}={value}: give a list, for example [strip_links].")
    return kwargs


def check_processor(args: ModelArguments, config: PreTrainedConfig) -> None:
    """Check that the processor can be built, and that the text encoder knows the words of its tokenizer."""
    kwargs = processor_kwargs(args)
    if args.init_from is not None:
        size = kwargs.pop("image_size", None)
        with naming(f"init_from={args.init_from}"):
            processor = load_processor(args.init_from, **kwargs)
        if size is not None and processor.image_size != (size, size):
            raise ValueError(f"processor_kwargs image_size={size}: that of init_from is {processor.image_size}.")
        check_lengths(config, processor, "processor_kwargs ")
        return
    text, image = args.text_encoder, args.image_encoder
    with naming(encoder_arguments(args)):
        processor = ARCHITECTURES[args.architecture].processor.from_backbones(text, image, ["a"], **kwargs)
        check_lengths(config, processor, "processor_kwargs ")
        check_vocabulary(processor.tokenizer, None if text == "word_vectors" else config.get_text_config())


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig | None) -> None:
    """Check that a tokenizer has words, and that a pretrained text encoder has an embedding for each."""
    ids = tokenizer.get_vocab().values()
    if len(ids) <= len(set(tokenizer.all_special_ids)):  # transformers makes an empty tokenizer where files are absent
        raise ValueError("the tokenizer has no words: its files are missing, or vocab_size is too small.")
    size = getattr(config, "vocab_size", None)
    if size is not None and max(ids) >= size:
        raise ValueError(f"the tokenizer is that of another model: it has ids up to {max(ids)}, the model {size}.")
