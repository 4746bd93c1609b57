"""Text and image encoders: a pretrained backbone, or one of this project's own.

An encoder turns token ids into one vector per token, and pixels into one vector per region. Everything above the
encoders belongs to the architecture.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PreTrainedConfig,
)

from .common_cnns import OWN_CNNS
from .common_layers import FeatureNorm, MaskedLSTM
from .common_loading import check_finite, check_source, check_weight_files, list_keys, load_model
from .common_precomputed import Precomputed, PrecomputedConfig
from .common_word_vectors import WordVectors, WordVectorsConfig

# Fields that describe the origin and the task of a backbone. A model that contains the backbone has its own.
_CHECKPOINT_FIELDS = ("dtype", "_name_or_path", "architectures", "transformers_version", "label_names", "num_classes")

# Models with a decoder, of which transformers can build the encoder alone.
T5_TYPES = ("t5", "mt5", "umt5")

# The number of images that a CPU encodes at once without gradients. The feature maps of more images do not fit its
# cache: 64 images at 224 pixels at once take EfficientNet-lite0 two to five times as long.
CPU_IMAGES = 4


def encoder_config(config: dict | PreTrainedConfig) -> PreTrainedConfig:
    """Make the config of an encoder from another config, or from a dictionary with a `model_type`."""
    if isinstance(config, PreTrainedConfig):
        config = config.to_dict()
    config = {key: value for key, value in config.items() if key not in _CHECKPOINT_FIELDS}
    model_type = config.pop("model_type")
    if model_type in OWN_ENCODERS:
        return OWN_ENCODERS[model_type][0](**config)
    # Without this, timm's config would add the 1,000 class names of ImageNet.
    kwargs = {"num_labels": 1} if model_type == "timm_wrapper" else {}
    return CONFIG_MAPPING[model_type].from_dict(config, **kwargs)


def load_backbone(
    name_or_path: str | Path, part: Literal["text", "image", "class_scores"]
) -> tuple[nn.Module, PreTrainedConfig]:
    """Load a pretrained backbone in float32, and its config, from safetensors.

    Args:
        name_or_path: The Hub id or folder of a backbone, or of a whole model of this project.
        part: Which encoder of a whole model to take. Of the text, it is everything that reads the text alone. Of
            images, `"class_scores"` is the whole model, as an encoder that returns its scores.

    Raises:
        OSError: If there is no such backbone.
        ValueError: If the whole model does not have this encoder, if the backbone reads something else, or if its
            weights are damaged, missing or not finite.
    """
    config = _whole_config(name_or_path, part)
    if part == "class_scores" and hasattr(config, "image_config"):
        scores_config = config.class_scores_config  # before the weights, which may be large, are read
        return load_model(name_or_path).class_scores(), scores_config
    part = "text" if part == "text" else "image"
    # The head has float32, and transformers would keep the type of the file, which is often float16 or bfloat16.
    model, report = _auto_class(config).from_pretrained(
        name_or_path, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    whole = hasattr(model, f"{part}_encoder")
    if not whole:
        _without_pooler(model)
    prefix = f"{part}_encoder.backbone." if whole else ""
    names = model.state_dict().keys()
    missing = [key for key in report["missing_keys"] if key.startswith(prefix) and key in names]
    if missing:
        raise ValueError(f"{name_or_path}: the weights do not match the {type(model).__name__}: {list_keys(missing)}.")
    check_finite(model, name_or_path)
    if not whole:
        if part == "text":
            _check_text_backbone(model, name_or_path)
        return model, config
    encoder = getattr(model, f"{part}_encoder")
    if encoder is None:
        raise ValueError(f"{name_or_path}: this {config.model_type} was trained without {part} encoder.")
    if part == "image":
        return encoder.backbone, config.image_config
    branch_config = config.text_branch_config
    if branch_config is config.text_config:
        return encoder.backbone, branch_config
    with torch.device("meta"):
        branch = BiLSTM(branch_config)
    branch.backbone, branch.lstm = encoder.backbone, model.lstm
    return branch, branch_config


def backbone_config(name_or_path: str | Path, part: Literal["text", "image", "class_scores"]) -> PreTrainedConfig:
    """Return the config of the backbone that `load_backbone` with the same arguments loads, with the same checks."""
    config = _whole_config(name_or_path, part)
    if not hasattr(config, "image_config"):
        return config
    names = {"text": "text_branch_config", "image": "image_config", "class_scores": "class_scores_config"}
    return getattr(config, names[part])


def _whole_config(name_or_path: str | Path, part: Literal["text", "image", "class_scores"]) -> PreTrainedConfig:
    """Return the config of a backbone, or of the whole model of this project that contains it."""
    check_source(name_or_path)
    config = AutoConfig.from_pretrained(name_or_path)
    if config.model_type == "timm_wrapper":
        config.do_pooling = False
    # Of a model with two towers, such as CLIP or SigLIP, take one.
    modality = "text" if part == "text" else "image"
    tower = getattr(config, {"text": "text_config", "image": "vision_config"}[modality], None)
    config = tower if isinstance(tower, PreTrainedConfig) and hasattr(config, "vision_config") else config
    if type(config) not in MODEL_MAPPING or (config.is_encoder_decoder and config.model_type not in T5_TYPES):
        raise ValueError(f"{name_or_path}: transformers cannot build the encoder of a {config.model_type} alone.")
    classes = MODEL_MAPPING[type(config)]
    reads = (classes[0] if isinstance(classes, tuple) else classes).main_input_name
    if not hasattr(config, "image_config") and reads != {"text": "input_ids", "image": "pixel_values"}[modality]:
        raise ValueError(f"{name_or_path}: a {config.model_type} cannot be the {modality} encoder: it reads {reads}.")
    check_weight_files(name_or_path)
    return config


def _auto_class(config: PreTrainedConfig) -> type:
    """Return the class that builds a backbone: for T5 and its kind, the one without the decoder."""
    return AutoModelForTextEncoding if config.model_type in T5_TYPES else AutoModel


@torch.no_grad()
def _check_text_backbone(backbone: nn.Module, name_or_path: str | Path) -> None:
    """Check that a backbone turns token ids into one vector per token."""
    ids = torch.zeros(1, 2, dtype=torch.long)
    try:
        shape = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape
    except Exception as error:  # whatever the code of a stranger's backbone raises
        raise ValueError(f"{name_or_path}: {type(backbone).__name__} cannot be a text encoder: {error}") from error
    if shape[:2] != ids.shape:
        raise ValueError(f"{name_or_path}: {type(backbone).__name__} makes {shape[1]} vectors of 2 tokens.")


def _build(config: PreTrainedConfig) -> nn.Module:
    """Build a backbone with new weights."""
    if config.model_type in OWN_ENCODERS:
        return OWN_ENCODERS[config.model_type][1](config)
    return _without_pooler(_auto_class(config).from_config(config))


def _without_pooler(backbone: nn.Module) -> nn.Module:
    """Drop a pooling layer that has weights. No architecture reads it, so it would never get a gradient."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        backbone.pooler = None
    return backbone


class TextEncoder(nn.Module):
    """Turn tokens into vectors: `forward(input_ids (B, L), attention_mask (B, L)) -> (B, L, D)`.

    Attributes:
        pad_to: The number L of vectors, also of shorter texts, which are padded with token 0. By default L is that of
            the input.
    """

    pad_to: int | None = None

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.backbone = _build(config)

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """The weights that the backbone has under two names, such as T5's embeddings, which are saved once."""
        tied = getattr(self.backbone, "all_tied_weights_keys", {})
        return {f"backbone.{name}": f"backbone.{source}" for name, source in tied.items()}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.pad_to is not None:
            padding = (0, self.pad_to - input_ids.shape[1])
            input_ids = nn.functional.pad(input_ids.masked_fill(attention_mask == 0, 0), padding)
            attention_mask = nn.functional.pad(attention_mask, padding)
        if isinstance(self.backbone, WordVectors):
            return self.backbone(input_ids)  # (B, L, D)
        if isinstance(self.backbone, BiLSTM):
            return self.backbone(input_ids, attention_mask)  # (B, L, D)
        # The mask of a post without text is all zeros, and softmax over nothing is NaN in some attention kernels. Let
        # such a row attend to its first token. The architecture masks the output of the row anyway.
        visible = attention_mask.clone()
        visible[:, 0] = 1
        return self.backbone(input_ids=input_ids, attention_mask=visible).last_hidden_state  # (B, L, D)


@strict
class BiLSTMConfig(PreTrainedConfig):
    """Config of a text encoder with a BiLSTM over it: the text branch of a trained model.

    Args:
        backbone_config: The config of the text encoder below the BiLSTM.
        hidden_size: The length of the states in both directions together.
    """

    model_type = "bilstm"
    sub_configs = {"backbone_config": AutoConfig}

    backbone_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 256

    def __post_init__(self, **kwargs):
        self.backbone_config = encoder_config(self.backbone_config or WordVectorsConfig())
        super().__post_init__(**kwargs)


class BiLSTM(TextEncoder):
    """A text encoder with a BiLSTM over its output, which `forward` returns, zero where the mask is zero."""

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config.backbone_config)
        self.lstm = MaskedLSTM(config.backbone_config.hidden_size, config.hidden_size // 2, bidirectional=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.lstm(super().forward(input_ids, attention_mask), attention_mask.bool())


class ImageEncoder(nn.Module):
    """Turn pixels into regions: `forward(pixel_values (N, 3, H, W)) -> (N, R, D)`.

    Attributes:
        keeps_prefix: Whether the class token and other tokens without a place come before the regions.
    """

    keeps_prefix = False

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.backbone = _build(config)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if self._can_be_split(pixel_values):
            parts = pixel_values.split(CPU_IMAGES)
            return torch.cat([to_regions(self.backbone, images, self.keeps_prefix) for images in parts])
        return to_regions(self.backbone, pixel_values, self.keeps_prefix)

    def count_regions(self, pixel_values: torch.Tensor) -> int:
        """Return the number of regions of each image of a batch, without the tokens before them."""
        return to_regions(self.backbone, pixel_values).shape[1]

    def _can_be_split(self, pixel_values: torch.Tensor) -> bool:
        """Tell whether this is a CPU, no gradient is recorded, and BatchNorm does not need the whole batch."""
        if pixel_values.device.type != "cpu" or self.training or torch.compiler.is_compiling():
            return False
        inputs = (pixel_values, *self.parameters())
        return not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in inputs)


@strict
class ClassScoresConfig(PreTrainedConfig):
    """Config of an image encoder that returns the scores of a trained classifier of images, one region per image.

    Args:
        backbone_config: The config of the vision backbone of the classifier.
        sizes: The length of the mean of an image's regions, those of the layers over it, and the number of classes.
        standardize: Whether the mean is standardised.
    """

    model_type = "class_scores"
    sub_configs = {"backbone_config": AutoConfig}
    num_regions = 1  # not a field of config.json

    backbone_config: dict | PreTrainedConfig | None = None
    sizes: list[int] | tuple[int, ...] = (128, 3)
    standardize: bool = True

    def __post_init__(self, **kwargs):
        self.backbone_config = encoder_config(self.backbone_config or OWN_CNNS["small_cnn"][0]())
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        return self.sizes[-1]


class ClassScores(ImageEncoder):
    """The mean of the regions, linear layers with ReLU between them, and softmax: (N, 3, H, W) -> (N, C, 1, 1)."""

    def __init__(self, config: ClassScoresConfig):
        super().__init__(config.backbone_config)
        self.norm = FeatureNorm(config.sizes[0]) if config.standardize else None
        layers = [layer for sizes in pairwise(config.sizes) for layer in (nn.Linear(*sizes), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        pooled = super().forward(pixel_values).mean(1)  # (N, D)
        if self.norm is not None:
            pooled = self.norm(pooled, pooled.new_ones(len(pooled), dtype=torch.bool))
        return self.layers(pooled).softmax(-1)[..., None, None]


# Every other `model_type` belongs to transformers.
OWN_ENCODERS = {
    **{"word_vectors": (WordVectorsConfig, WordVectors), "bilstm": (BiLSTMConfig, BiLSTM)},
    **{"class_scores": (ClassScoresConfig, ClassScores), "precomputed": (PrecomputedConfig, Precomputed), **OWN_CNNS},
}


def to_regions(backbone: nn.Module, pixel_values: torch.Tensor, keeps_prefix: bool = False) -> torch.Tensor:
    """Run a vision backbone: (N, 3, H, W) -> (N, R, D), with the regions in row-major order.

    The regions of a CNN are the cells of its feature map. The regions of a vision transformer are its patch tokens,
    without class, distillation and register tokens unless `keeps_prefix`.
    """
    if isinstance(backbone, (ClassScores, *(cnn for _, cnn in OWN_CNNS.values()))):
        features = backbone(pixel_values)
    else:
        features = backbone(pixel_values=pixel_values).last_hidden_state
    timm_model = getattr(backbone, "timm_model", None)
    if features.ndim == 4:
        if getattr(timm_model, "output_fmt", "NCHW") == "NHWC":
            return features.flatten(1, 2)  # (N, h, w, D) -> (N, R, D)
        return features.flatten(2).transpose(1, 2)  # (N, D, h, w) -> (N, R, D)
    if keeps_prefix:
        return features
    if timm_model is not None:
        num_prefix_tokens = getattr(timm_model, "num_prefix_tokens", 0)
    else:
        patch_size = backbone.config.patch_size
        height, width = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        patches = (pixel_values.shape[-2] // height) * (pixel_values.shape[-1] // width)
        # Hierarchical transformers such as Swin merge patches and have no prefix, so they have fewer tokens.
        num_prefix_tokens = max(features.shape[1] - patches, 0)
    return features[:, num_prefix_tokens:]


@torch.no_grad()
def image_sizes(backbone: nn.Module, image_size: tuple[int, int]) -> dict[str, int]:
    """Return the width and the number of regions of a vision backbone, by the ends of the names of their fields."""
    _, regions, width = to_regions(backbone, torch.zeros(1, 3, *image_size)).shape
    return {"hidden_size": width, "regions": regions}
