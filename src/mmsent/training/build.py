"""Build the processor, the model and the trainer that the arguments of a run describe."""

from collections import Counter
from collections.abc import Iterable
from inspect import signature
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch.utils.data import Subset
from transformers import EarlyStoppingCallback, EvalPrediction, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from mmsent.dataset_scripts.common_arguments import naming, parse_name_values
from mmsent.evaluation.calibration import log_scores
from mmsent.evaluation.scores import score, single_numbers
from mmsent.modeling import ARCHITECTURES, Architecture
from mmsent.modeling.common_backbones import image_sources
from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_config import MultimodalConfig, own_fields
from mmsent.modeling.common_encoders import backbone_config
from mmsent.modeling.common_loading import (
    check_finite,
    check_kinds,
    check_pair,
    check_run,
    check_weight_files,
    list_keys,
    load_config,
    load_processor,
    naming_damage,
)
from mmsent.modeling.common_precomputed import PrecomputedConfig, own_image_config
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.modeling.common_word_vectors import WordVectorsConfig

from .arguments import DataArguments, ModelArguments, RunArguments
from .augmentation import AugmentedPosts
from .collator import PostCollator
from .console import OneBar, Progress
from .posts import RunPosts, confident_rows, progressive_rows
from .trainer import MultimodalTrainer

# Fields of a config that follow from the encoders, the corpus and other arguments.
DERIVED_FIELDS = {"text_config", "modalities", "aspects", "columns", "score_temperature"}
IMAGE_FIELDS = ("config", "hidden_size", "regions")  # the ends of the names of those of each image encoder


def build(
    args: ModelArguments, texts: Iterable[str], id2label: dict[int, str], aspects: Iterable[str] = ()
) -> tuple[MultimodalProcessor, MultimodalPreTrainedModel]:
    """Build the processor and the model: new ones, or those of the trained model that `init_from` names.

    Args:
        texts: The texts of the training split, which give the vocabulary of word vectors.
        id2label: The classes of the corpus.
        aspects: The aspects of the training split, likewise.
    """
    row = ARCHITECTURES[args.architecture]
    processor_kwargs, config = parse_name_values(args.processor_kwargs), planned_config(args)
    fields = model_fields(args)
    if args.init_from is not None:
        config = type(config).from_dict(config.to_dict() | {"id2label": id2label})
        with naming(f"init_from={args.init_from}"):
            processor = load_processor(args.init_from, **processor_kwargs)
            model = load_trained(row, args.init_from, config)
        if "label_vectors" in fields:
            with naming("model_kwargs label_vectors"):
                model.set_label_embeddings(fields["label_vectors"])
    else:
        if config.reads_vectors:
            processor_kwargs["image_feature_size"] = config.image_hidden_size
        sources = image_encoders(args)
        for name in sorted(sources.keys() - parse_name_values(args.further_image_encoders).keys() - {"image"}):
            print(f"further_image_encoders: {name} is a second {args.image_encoder}, like image_encoder.", flush=True)
        processor = row.processor.from_backbones(
            args.text_encoder, args.image_encoder, texts, aspects=aspects, **processor_kwargs
        )
        with naming(encoder_arguments(args)):
            model = row.classifier.from_backbones(
                args.text_encoder,
                args.image_encoder,
                processor.tokenizer,
                processor.image_size,
                word_vectors=args.word_vectors,
                further_image_encoders={name: sources[name] for name in row.config.further_image_encoders},
                id2label=id2label,
                **fields,
            )
    check_sizes(model.eval(), processor)
    return processor, model.train()


def image_encoders(args: ModelArguments) -> dict[str, str]:
    """Return the image encoders of the architecture by name: "image" and further ones.

    Raises:
        ValueError: If the architecture does not have one of `further_image_encoders`.
    """
    with naming("further_image_encoders"):
        further = {name: str(source) for name, source in parse_name_values(args.further_image_encoders).items()}
        return image_sources(ARCHITECTURES[args.architecture].config, args.image_encoder, further)


def encoder_arguments(args: ModelArguments) -> str:
    """Return the arguments that decide the encoders and the processor, for messages."""
    words = [f"text_encoder={args.text_encoder}", f"image_encoder={args.image_encoder}"]
    words += [f"further_image_encoders {word}" for word in args.further_image_encoders]
    words += [f"word_vectors={args.word_vectors}"] if args.word_vectors is not None else []
    return ", ".join(words + [f"processor_kwargs {word}" for word in args.processor_kwargs])


def model_fields(args: ModelArguments) -> dict[str, Any]:
    """Return the fields of the config that `model_kwargs` sets, and `label_vectors`.

    Raises:
        ValueError: If there is no such field, or if the encoders and the corpus decide it.
    """
    row = ARCHITECTURES[args.architecture]
    with naming("model_kwargs"):
        fields = parse_name_values(args.model_kwargs)
    derived = {f"{name}_{end}" for name in ("image", *row.config.further_image_encoders) for end in IMAGE_FIELDS}
    derived |= {*DERIVED_FIELDS, "keys_to_ignore_at_inference"}  # the last is of the class
    derived -= {"image_hidden_size"} if args.image_encoder == PrecomputedConfig.model_type else set()
    names = set(own_fields(row.config)) - derived
    names |= {"label_vectors"} & set(signature(row.classifier.from_backbones).parameters)
    unknown = sorted(set(fields) - names)
    if unknown:
        raise ValueError(
            f"model_kwargs {', '.join(unknown)}: {args.architecture} has no field of this name that can be set, only "
            f"{', '.join(sorted(names))}."
        )
    for name in set(fields) & set(row.config.__dataclass_fields__):
        if "float" in str(row.config.__dataclass_fields__[name].type):  # also of lists; they refuse whole numbers
            fields[name] = _as_floats(fields[name])
    return fields


def _as_floats(value: Any) -> Any:
    """Return whole numbers, also those in a list, as floats, and other values as they are."""
    if isinstance(value, list):
        return [_as_floats(entry) for entry in value]
    return float(value) if type(value) is int else value


def planned_config(args: ModelArguments) -> MultimodalConfig:
    """Return the config that the model will have, except for the classes and the sizes of the images.

    Raises:
        ValueError: If an encoder or the trained model cannot be used, or a field has a wrong value.
    """
    row = ARCHITECTURES[args.architecture]
    fields = model_fields(args)
    fields.pop("label_vectors", None)
    if args.init_from is not None:
        with naming(f"init_from={args.init_from}"):
            saved = load_config(args.init_from)
            if saved.model_type != args.architecture:
                raise ValueError(f"it is a model of --architecture {saved.model_type}, not {args.architecture}.")
            check_weight_files(args.init_from)
            check_run(args.init_from)
        with naming("model_kwargs"):
            return row.config.from_dict(saved.to_dict() | fields)
    with naming(f"text_encoder={args.text_encoder}"):
        if args.text_encoder == "word_vectors" or "text" not in row.reads:
            size = fields.get("text_hidden_size") or WordVectorsConfig.hidden_size
            text_config = WordVectorsConfig(hidden_size=size)
        else:
            text_config = backbone_config(args.text_encoder, "text")
    image_configs = {}  # an encoder that the architecture does not read is not built
    for name, source in image_encoders(args).items() if "image" in row.reads else ():
        with naming(f"image_encoder={source}" if name == "image" else f"further_image_encoders {name}={source}"):
            own = own_image_config(source, fields.get("image_hidden_size"))
            image_configs[f"{name}_config"] = own or backbone_config(source, row.model.image_part)
    with naming("model_kwargs"):
        config = row.config(text_config=text_config, **image_configs, **fields)
    if config.text_hidden_size != text_config.hidden_size:
        raise ValueError(f"model_kwargs text_hidden_size: the text encoder's is {text_config.hidden_size}.")
    return config


def load_trained(row: Architecture, name: str, config: MultimodalConfig) -> MultimodalPreTrainedModel:
    """Load a trained model with another config, and print the names of weights that are initialized anew.

    Raises:
        ValueError: If weights are missing or left over for another reason than the change of the config, or are not
            finite.
    """
    options = {"ignore_mismatched_sizes": True, "use_safetensors": True, "output_loading_info": True}
    with naming_damage(name):
        model, report = row.classifier.from_pretrained(name, config=config, **options)
    with torch.device("meta"):
        saved = {key: value.shape for key, value in row.classifier(load_config(name)).state_dict().items()}
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    others = {key for key, stored, _ in report["mismatched_keys"] if saved.get(key) != stored}
    lost = sorted((missing & saved.keys()) | (unexpected - saved.keys()) | others)
    if lost:
        raise ValueError(f"the weights do not match the model: {list_keys(lost)}.")
    anew = [*missing, *(key for key, *_ in report["mismatched_keys"])]
    if anew:
        print(f"init_from: weights of another name or shape are initialized anew: {list_keys(anew)}", flush=True)
    check_finite(model, name)
    check_kinds(name, model)
    return model


@torch.no_grad()
def check_sizes(model: MultimodalPreTrainedModel, processor: MultimodalProcessor) -> None:
    """Check that the encoders of a model in evaluation mode can read the longest text and the images of a processor.

    Raises:
        ValueError: If they cannot.
    """
    check_pair(model, processor)
    encoder = model.base_model.text_encoder
    if encoder is not None:
        try:
            ids = torch.zeros(1, processor.max_length, dtype=torch.long)
            encoder(ids, torch.ones_like(ids))
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"processor_kwargs max_length={processor.max_length}: the text encoder cannot read as many tokens."
            ) from error


def class_weights(words: list[str] | None, labels: list[int], num_classes: int) -> list[float] | None:
    """Return the weight of every class, or None without the argument `class_weights`, which is given in `words`.

    Raises:
        ValueError: If there is not one number per class.
    """
    if words is None:
        return None
    if words != ["balanced"]:
        if len(words) != num_classes:
            raise ValueError(f"class_weights={' '.join(words)}: give one number for each of {num_classes} classes.")
        return [float(word) for word in words]
    counts = Counter(labels)
    # The evaluation's loss can meet a class that training does not: that class has the weight one.
    return [len(labels) / (len(counts) * counts[index]) if counts[index] else 1.0 for index in range(num_classes)]


def build_trainer(
    model: MultimodalPreTrainedModel | PeftModel,
    collator: PostCollator,
    posts: RunPosts,
    data_args: DataArguments,
    run_args: RunArguments,
    weights: list[float] | None,
) -> MultimodalTrainer:
    """Build the trainer of a run, with augmentation, early stopping and one progress bar."""

    def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
        scores = score(evaluation.predictions.argmax(-1), evaluation.label_ids, posts.label_names)
        return single_numbers(scores)

    train_posts = posts.splits["train"]
    changes = (data_args.image_augmentation, data_args.text_augmentation)
    if any(changes) or data_args.synonyms:
        train_posts = AugmentedPosts(train_posts, *changes, run_args.seed, data_args.synonyms)
    if run_args.lbfgs:
        run_args.per_device_train_batch_size = len(train_posts)
    disable_progress_bar()  # bars of weights that are read and written would interrupt that of the training
    patience = run_args.early_stopping_patience
    trainer = MultimodalTrainer(
        model=model,
        args=run_args,
        data_collator=collator,
        train_dataset=train_posts,
        eval_dataset=None if run_args.eval_strategy == "no" else posts.splits["validation"],
        processing_class=collator.processor,
        compute_metrics=compute_metrics,
        callbacks=[*([] if patience is None else [EarlyStoppingCallback(patience)]), Progress()],
        class_weights=weights,
    )
    if not run_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(OneBar)
    if isinstance(model, PeftModel) and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise ValueError("lora_rank: an adapter is merged on one device; launch without FSDP and DeepSpeed.")
    return trainer


def keep_posts(trainer: MultimodalTrainer, posts: RunPosts, args: DataArguments) -> list[int]:
    """Train only on the posts that the model's scores select, by the rule `min_confidence` or `keep_progressively`,
    and return their labels."""
    labels = posts.labels["train"]
    logits = trainer.predict(posts.splits["train"]).predictions
    scores = np.exp(log_scores(logits, trainer.model.config.score_temperature))
    if args.keep_progressively:
        rows = progressive_rows(scores, posts.outlines["train"]["id"], trainer.args.seed)
    else:
        rows = confident_rows(scores, labels, args.min_confidence)
    if not rows:
        rule = "keep_progressively" if args.keep_progressively else f"min_confidence={args.min_confidence}"
        raise ValueError(f"{rule}: no training post is left, because the model of init_from is sure of none.")
    trainer.train_dataset = Subset(trainer.train_dataset, rows)
    posts.report["confident_posts"] = len(rows)
    return [labels[row] for row in rows]
