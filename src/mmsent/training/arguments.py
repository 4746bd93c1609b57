"""The arguments of train.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.constants import HF_ASSETS_CACHE
from transformers import TrainingArguments

from mmsent.dataset_scripts import CORPORA
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import OWN_IMAGE_ENCODERS


@dataclass
class ModelArguments:
    """The arguments that describe the model and its processor."""

    architecture: Literal[tuple(ARCHITECTURES)] = field(default="comn", metadata={"help": "Architecture to train."})
    text_encoder: str = field(
        default="word_vectors",
        metadata={"help": "'word_vectors', or the Hub id or folder of a transformer or of a trained model."},
    )
    image_encoder: str = field(
        default="small_cnn",
        metadata={
            "help": f"One of {', '.join(OWN_IMAGE_ENCODERS)}, or the Hub id or folder of a timm or transformers "
            "backbone or of a trained model."
        },
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "GloVe or word2vec text file that initializes the word vectors."}
    )
    lora_rank: int | None = field(
        default=None,
        metadata={
            "help": "Rank of a LoRA adapter on the attention of the pretrained encoders. Everything else but the "
            "backbones is trained whole."
        },
    )
    lora_alpha: float | None = field(default=None, metadata={"help": "Alpha of LoRA; twice the rank by default."})
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "Hub id or folder of a trained model whose encoders and processor the training starts from. "
            "model_kwargs change its config; weights whose shape changes are initialized anew."
        },
    )
    model_kwargs: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Fields of the architecture's config as NAME=VALUE, for example hops=3.",
            "action": "extend",
        },
    )
    processor_kwargs: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Arguments of the processor as NAME=VALUE, for example max_length=80.",
            "action": "extend",
        },
    )


@dataclass
class DataArguments:
    """The arguments that describe the corpus and how its posts are read."""

    dataset: str = field(
        default="sample_posts",
        metadata={
            "help": f"One of {', '.join(CORPORA)}, or the folder or Hub id of Parquet files with the same columns."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Config of the corpus, which names its splits: 'random', 'clmlf_clean', ..."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder of the corpus as its authors ship it."})
    dataset_kwargs: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Options of the corpus as NAME=VALUE, for example substitute_target=true.",
            "action": "extend",
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the posts as a stream, without storing them, and train for --max_steps steps. This is meant "
            "for corpora that are larger than the disk."
        },
    )
    on_bad_image: Literal["error", "skip", "missing"] = field(
        default="error",
        metadata={
            "help": "What to do about an image that cannot be decoded: 'error' stops the run, 'skip' leaves its post "
            "out, 'missing' keeps the post without the image."
        },
    )
    modalities: Literal["both", "text", "image"] = field(
        default="both", metadata={"help": "Parts of a post that the model reads, in training and in evaluation."}
    )
    image_augmentation: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Random changes of the training images, drawn anew in every epoch.",
            "choices": ["flip", "crop", "erase"],
        },
    )
    text_augmentation: str | None = field(
        default=None,
        metadata={"help": "Column with a paraphrase of the text, which replaces it at random in half of the epochs."},
    )
    min_confidence: float | None = field(
        default=None,
        metadata={
            "help": "Train only on the posts to whose label the model gives a higher probability than this before the "
            "training (the MVSO study uses 0.6). Combine it with init_from."
        },
    )
    cache_features: bool = field(
        default=False,
        metadata={"help": "Run the frozen encoders once, before the training, and store their output on the disk."},
    )
    features_dir: str = field(
        default=str(Path(HF_ASSETS_CACHE, "mmsent", "features")),
        metadata={"help": "Folder of the stored output. All runs can share it."},
    )
    features_dtype: Literal["float32", "float16"] = field(
        default="float32",
        metadata={"help": "Type of the stored numbers; float16 takes half the space and keeps three digits."},
    )


@dataclass
class RunArguments(TrainingArguments):
    """transformers' TrainingArguments, with defaults that suit these models."""

    output_dir: str | None = field(
        default="", metadata={"help": "Folder of the run; runs/<dataset>-<architecture> by default."}
    )
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
        default="accuracy", metadata={"help": "Score on the validation split that selects the best epoch."}
    )
    text_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the text encoder; learning_rate by default."}
    )
    text_from_epoch: float = field(
        default=0, metadata={"help": "Keep the text encoder frozen before this epoch (CLMLF and MDSE: 20)."}
    )
    image_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the image encoder; learning_rate by default."}
    )
    image_from_epoch: float = field(default=0, metadata={"help": "Keep the image encoder frozen before this epoch."})
    rest_until_epoch: float | None = field(
        default=None,
        metadata={"help": "Train nothing but the text encoder from this epoch on (MDSE's code: 20)."},
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "help": "Weights of the classes in the cross-entropy: one number per class, in the order of the labels, "
            "or 'balanced', which gives every class the same total weight in the training split."
        },
    )
    lr_decay: float | None = field(
        default=None,
        metadata={"help": "Factor that multiplies the learning rates every lr_decay_steps (Deep Fusion: 0.96)."},
    )
    lr_decay_steps: int = field(default=3000, metadata={"help": "Number of steps between two uses of lr_decay."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without an improvement."}
    )
    restore_callback_states_from_checkpoint: bool = True  # early stopping counts evaluations across an interruption
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = torch.accelerator.is_available()
    label_names: list[str] | None = field(default_factory=lambda: ["labels"])
