"""Text and image encoders: a pretrained backbone, word vectors, or a small CNN trained from scratch.

An encoder turns token ids into one vector a token and pixels into one vector a region; everything above it is the
architecture's own.
"""

from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedTokenizerBase


@strict
class WordVectorsConfig(PreTrainedConfig):
    """One vector a word, as the field used before transformers.

    Args:
        vocab_size: words in the tokenizer, the padding and unknown words included.
        hidden_size: length of a vector.
        pad_token_id: the row that stays zero.
    """

    model_type = "word_vectors"

    vocab_size: int = 2
    hidden_size: int = 100
    pad_token_id: int | None = 0


class WordVectors(nn.Embedding):
    """The embedding table; a subclass only so that weight initialisation tells it from a transformer's embeddings."""

    def __init__(self, config: WordVectorsConfig):
        super().__init__(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)


@strict
class SmallCNNConfig(PreTrainedConfig):
    """A small convolutional network, trained from scratch: the image side of the default model.

    Args:
        image_size: height and width of the pictures, in pixels; a multiple of 2 to the number of blocks.
        channels: output channels of each block; a block halves height and width.
    """

    model_type = "small_cnn"

    image_size: int = 64
    channels: list[int] | tuple[int, ...] = (16, 32, 64, 128)

    @property
    def hidden_size(self) -> int:
        return self.channels[-1]

    @property
    def num_regions(self) -> int:
        return (self.image_size // 2 ** len(self.channels)) ** 2


class SmallCNN(nn.Sequential):
    """Blocks of convolution, batch normalisation, ReLU and 2×2 max pooling: (N, 3, H, W) -> (N, D, h, w)."""

    def __init__(self, config: SmallCNNConfig):
        layers = []
        for inputs, outputs in zip((3, *config.channels), config.channels, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers)


@strict
class AlexNetConfig(PreTrainedConfig):
    """AlexNet's five convolutions (Krizhevsky et al., NIPS 2012), ungrouped, trained from scratch.

    Args:
        image_size: height and width of the pictures, in pixels; 224 gives 6 × 6 regions.
    """

    model_type = "alexnet"

    image_size: int = 224

    @property
    def hidden_size(self) -> int:
        return 256

    @property
    def num_regions(self) -> int:
        size = (self.image_size - 7) // 4 + 1  # conv1: 11 wide, stride 4, padding 2
        for _ in range(3):
            size = (size - 3) // 2 + 1  # pooling, 3 wide, stride 2
        return size**2


class AlexNet(nn.Sequential):
    """Convolutions with local response normalisation after the first two: (N, 3, 224, 224) -> (N, 256, 6, 6)."""

    def __init__(self, config: AlexNetConfig):
        def pool() -> nn.Module:
            return nn.MaxPool2d(3, stride=2)

        super().__init__(
            *(nn.Conv2d(3, 96, 11, stride=4, padding=2), nn.ReLU(), nn.LocalResponseNorm(5, k=2.0), pool()),
            *(nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.LocalResponseNorm(5, k=2.0), pool()),
            *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), pool()),
        )


@strict
class RawCNNConfig(PreTrainedConfig):
    """The two convolutions of the MVSO study's network for raw pixels (arXiv 1712.00725), trained from scratch.

    Args:
        image_size: height and width of the pictures, in pixels; a multiple of 4.
    """

    model_type = "raw_cnn"

    image_size: int = 32

    @property
    def hidden_size(self) -> int:
        return 256

    @property
    def num_regions(self) -> int:
        return (self.image_size // 4) ** 2


class RawCNN(nn.Sequential):
    """Convolution, ReLU, 2×2 max pooling and batch normalisation, twice: (N, 3, 32, 32) -> (N, 256, 8, 8).

    Kernels of 5×5 and 3×3, padded; the paper states neither.
    """

    def __init__(self, config: RawCNNConfig):
        super().__init__(
            *(nn.Conv2d(3, 96, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(96)),
            *(nn.Conv2d(96, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(256)),
        )


# The encoders of this project; every other `model_type` is transformers' own.
OWN_IMAGE_ENCODERS = {"small_cnn": SmallCNNConfig, "alexnet": AlexNetConfig, "raw_cnn": RawCNNConfig}
OWN_ENCODERS = {
    "word_vectors": (WordVectorsConfig, WordVectors),
    "small_cnn": (SmallCNNConfig, SmallCNN),
    "alexnet": (AlexNetConfig, AlexNet),
    "raw_cnn": (RawCNNConfig, RawCNN),
}


# What a backbone's config says of its own origin and task; a model that contains the backbone has its own.
_OF_THE_CHECKPOINT = ("dtype", "_name_or_path", "architectures", "transformers_version", "label_names", "num_classes")


def encoder_config(config: dict | PreTrainedConfig) -> PreTrainedConfig:
    """Make the config of an encoder from another, or from its dictionary form, which needs a `model_type`."""
    if isinstance(config, PreTrainedConfig):
        config = config.to_dict()
    config = {key: value for key, value in config.items() if key not in _OF_THE_CHECKPOINT}
    model_type = config.pop("model_type")
    if model_type in OWN_ENCODERS:
        return OWN_ENCODERS[model_type][0](**config)
    # timm's config would otherwise add the 1,000 class names of ImageNet.
    kwargs = {"num_labels": 1} if model_type == "timm_wrapper" else {}
    return CONFIG_MAPPING[model_type].from_dict(config, **kwargs)


def _build(config: PreTrainedConfig) -> nn.Module:
    if config.model_type in OWN_ENCODERS:
        return OWN_ENCODERS[config.model_type][1](config)
    return _without_pooler(AutoModel.from_config(config))


def _without_pooler(backbone: nn.Module) -> nn.Module:
    """Drop a pooling layer with weights: nothing here reads it, so no gradient would reach it."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        backbone.pooler = None
    return backbone


def load_backbone(name_or_path: str | Path, part: Literal["text", "image"]) -> tuple[nn.Module, PreTrainedConfig]:
    """Load a pretrained backbone and its config, by Hub id or folder, from safetensors only.

    Args:
        part: which encoder, where the name is that of a whole model of this project.

    Raises:
        ValueError: that model has no such encoder.
    """
    config = AutoConfig.from_pretrained(name_or_path)
    if config.model_type == "timm_wrapper":
        config.do_pooling = False
    model = AutoModel.from_pretrained(name_or_path, config=config, use_safetensors=True)
    if not hasattr(model, f"{part}_encoder"):
        return _without_pooler(model), config
    encoder = getattr(model, f"{part}_encoder")
    if encoder is None:
        raise ValueError(f"{name_or_path}: this {config.model_type} was trained without {part} encoder.")
    return encoder.backbone, getattr(config, f"{part}_config")


class TextEncoder(nn.Module):
    """Tokens to vectors: `forward(input_ids (B, L), attention_mask (B, L)) -> (B, L, D)`."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.backbone = _build(config)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if isinstance(self.backbone, WordVectors):
            return self.backbone(input_ids)  # (B, L, D)
        # A post without a text has a mask of zeros, and softmax over nothing is NaN in some attention kernels. Such a
        # row attends to its first token; the fusion masks the row's output all the same.
        visible = attention_mask.clone()
        visible[:, 0] = 1
        return self.backbone(input_ids=input_ids, attention_mask=visible).last_hidden_state  # (B, L, D)


# Images that a CPU encodes at once, without gradients. The feature maps of more fall out of its cache: of
# EfficientNet-lite0 at 224 pixels, 64 at once take two to five times as long.
CPU_IMAGES = 4


class ImageEncoder(nn.Module):
    """Pixels to regions: `forward(pixel_values (N, 3, H, W)) -> (N, R, D)`."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.backbone = _build(config)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if self._is_better_in_parts(pixel_values):
            return torch.cat([to_regions(self.backbone, part) for part in pixel_values.split(CPU_IMAGES)])
        return to_regions(self.backbone, pixel_values)

    def _is_better_in_parts(self, pixel_values: torch.Tensor) -> bool:
        """On a CPU, where no gradient is recorded and no BatchNorm takes its statistics from the whole batch."""
        if pixel_values.device.type != "cpu" or self.training or torch.compiler.is_compiling():
            return False
        inputs = (pixel_values, *self.parameters())
        return not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in inputs)


def to_regions(backbone: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Run a vision backbone: (N, 3, H, W) -> (N, R, D), regions in row-major order.

    A CNN's feature map becomes its cells. Of a vision transformer the patch tokens remain: class, distillation and
    register tokens are dropped.
    """
    if isinstance(backbone, SmallCNN | AlexNet | RawCNN):
        features = backbone(pixel_values)
    else:
        features = backbone(pixel_values=pixel_values).last_hidden_state
    timm_model = getattr(backbone, "timm_model", None)
    if features.ndim == 4:
        if getattr(timm_model, "output_fmt", "NCHW") == "NHWC":
            return features.flatten(1, 2)  # (N, h, w, D) -> (N, R, D)
        return features.flatten(2).transpose(1, 2)  # (N, D, h, w) -> (N, R, D)
    if timm_model is not None:
        num_prefix_tokens = getattr(timm_model, "num_prefix_tokens", 0)
    else:
        patch_size = backbone.config.patch_size
        height, width = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        patches = (pixel_values.shape[-2] // height) * (pixel_values.shape[-1] // width)
        # Hierarchical transformers (Swin) merge patches and have no prefix: fewer tokens than patches.
        num_prefix_tokens = max(features.shape[1] - patches, 0)
    return features[:, num_prefix_tokens:]


def read_word_vectors(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, hidden_size: int
) -> tuple[torch.Tensor, int]:
    """Read the vectors of the tokenizer's words from a GloVe or word2vec text file.

    Words that the file lacks get random vectors with the spread of those that were found.

    Args:
        path: one word and its numbers a line, separated by single blanks; a first line of two numbers, as word2vec
            writes it, is skipped.
        tokenizer: whose vocabulary to fill; a word counts as found where it is spelled exactly so.
        hidden_size: the width that the file must have.

    Returns:
        the table (vocab_size, hidden_size) and the number of words found.

    Raises:
        ValueError: a line of another width, a number that is none, or no word found; names the file and the line.
    """
    vocabulary = tokenizer.get_vocab()
    found: dict[int, torch.Tensor] = {}
    with Path(path).open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            parts = raw.strip().split(b" ")
            if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                width = int(parts[1])
                if width != hidden_size:
                    raise _wrong_width(path, number, width, hidden_size)
                continue
            # Some of GloVe's words hold blanks ("at name@domain.com"), so the numbers are counted from the right.
            word, values = parts[:-hidden_size], parts[-hidden_size:]
            if not word or (len(word) > 1 and _is_number(word[-1])):
                raise _wrong_width(path, number, len(parts) - 1, hidden_size)
            index = vocabulary.get(b" ".join(word).decode("utf-8", "replace"))
            if index is None or index in found:
                continue
            try:
                found[index] = torch.tensor([float(value) for value in values])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}. Mend or delete the line.") from error
    if not found:
        raise ValueError(f"{path}: none of the tokenizer's {len(vocabulary)} words is in it.")
    spread = torch.stack(list(found.values())).std().item()
    table = torch.randn(len(tokenizer), hidden_size) * spread
    for index, vector in found.items():
        table[index] = vector
    table[tokenizer.pad_token_id] = 0
    return table, len(found)


def _wrong_width(path: str | Path, number: int, width: int, hidden_size: int) -> ValueError:
    return ValueError(
        f"{path}, line {number}: {width} numbers a word where the model wants {hidden_size}. Set text_hidden_size to "
        "the width of the file, or mend the line."
    )


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
