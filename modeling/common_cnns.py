"""Convolutional networks that are trained from scratch.

Those of images map pixels (N, 3, H, W) to a map (N, D, h, w) and can be image encoders. That of texts reads the output
of a text encoder.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig

from .common_layers import masked_mean


@strict
class SmallCNNConfig(PreTrainedConfig):
    """Config of the image encoder of the default model.

    Args:
        image_size: The height and width of the images in pixels, a multiple of 2 to the power of the number of blocks.
        channels: The output channels of each block. A block halves height and width.
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
    """Blocks of convolution, batch normalisation, ReLU and 2×2 max pooling."""

    def __init__(self, config: SmallCNNConfig):
        layers = []
        for inputs, outputs in zip((3, *config.channels), config.channels, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers)


@strict
class AlexNetConfig(PreTrainedConfig):
    """Config of AlexNet's five convolutions (Krizhevsky et al., NIPS 2012), without groups.

    Args:
        image_size: The height and width of the images in pixels. 224 gives 6 × 6 regions.
    """

    model_type = "alexnet"
    hidden_size = 256  # not a field of config.json

    image_size: int = 224

    @property
    def num_regions(self) -> int:
        size = (self.image_size - 7) // 4 + 1  # conv1: kernel 11, stride 4, padding 2
        for _ in range(3):
            size = (size - 3) // 2 + 1  # pooling: kernel 3, stride 2
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
    """Config of the two convolutions that the MVSO study (arXiv 1712.00725) applies to raw pixels.

    Args:
        image_size: The height and width of the images in pixels, a multiple of 4.
    """

    model_type = "raw_cnn"
    hidden_size = 256

    image_size: int = 32

    @property
    def num_regions(self) -> int:
        return (self.image_size // 4) ** 2


class RawCNN(nn.Sequential):
    """Convolution, ReLU, 2×2 max pooling and batch normalisation, twice: (N, 3, 32, 32) -> (N, 256, 8, 8).

    The paper states neither kernel sizes nor padding. Here the kernels are 5×5 and 3×3, with padding.
    """

    def __init__(self, config: RawCNNConfig):
        super().__init__(
            *(nn.Conv2d(3, 96, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(96)),
            *(nn.Conv2d(96, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(256)),
        )


@strict
class LRNCNNConfig(PreTrainedConfig):
    """Config of the two convolutions of PCNN (You et al., AAAI 2015).

    Args:
        image_size: The height and width of the images in pixels. 227 gives 13 × 13 regions.
    """

    model_type = "lrn_cnn"
    hidden_size = 256  # not a field of config.json

    image_size: int = 227

    @property
    def num_regions(self) -> int:
        size = (self.image_size - 11) // 4 + 1
        for _ in range(2):
            size = (size - 3) // 2 + 1
        return size**2


class LRNCNN(nn.Sequential):
    """Convolution, ReLU, local response normalisation and max pooling, twice: (N, 3, 227, 227) -> (N, 256, 13, 13).

    The kernels are those of AlexNet's first two layers; the padding of the second and the pooling are this project's.
    """

    def __init__(self, config: LRNCNNConfig):
        def norm_and_pool() -> tuple[nn.Module, ...]:
            return nn.ReLU(), nn.LocalResponseNorm(5, k=2.0), nn.MaxPool2d(3, stride=2)

        super().__init__(
            *(nn.Conv2d(3, 96, 11, stride=4), *norm_and_pool()),
            *(nn.Conv2d(96, 256, 5, padding=2), *norm_and_pool()),
        )


OWN_CNNS = {
    "small_cnn": (SmallCNNConfig, SmallCNN),
    "alexnet": (AlexNetConfig, AlexNet),
    "raw_cnn": (RawCNNConfig, RawCNN),
    "lrn_cnn": (LRNCNNConfig, LRNCNN),
}
OWN_IMAGE_ENCODERS = {name: config for name, (config, _) in OWN_CNNS.items()}


class TextCNN(nn.Module):
    """Convolutions over words and poolings over the positions of each filter (Kim, EMNLP 2014).

    Args:
        size: The width D of the tokens.
        filters: The number F of filters of each width.
        windows: The widths of the convolutions, in words.
        pools: The poolings, in the order of the features; Kim takes the maximum alone.
        activation: The function that is applied to the output of the convolutions.
        pad_to: The number of words to which every text is padded with zeros; all windows of this length are pooled.
    """

    def __init__(
        self,
        size: int,
        filters: int,
        windows: Sequence[int],
        pools: Sequence[Literal["max", "mean", "min"]] = ("max",),
        activation: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
        pad_to: int | None = None,
    ):
        super().__init__()
        self.pools, self.activation, self.pad_to = pools, activation, pad_to
        self.convolutions = nn.ModuleList(nn.Conv1d(size, filters, window) for window in windows)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the features (B, windows · pools · F) of texts, window by window and pooling by pooling.

        Only windows inside the text are pooled, or with `pad_to` inside the padded text. A text that is shorter than a
        window has one position, filled up with zeros. An absent text gives zeros.

        Args:
            tokens: (B, L, D) The tokens.
            mask: (B, L) bool, True for the first tokens of a text.
        """
        length = mask.sum(1, keepdim=True)  # (B, 1)
        tokens = (tokens * mask.unsqueeze(-1)).transpose(1, 2)  # (B, D, L)
        if self.pad_to is not None:
            tokens = nn.functional.pad(tokens, (0, self.pad_to - tokens.shape[2]))
            length = self.pad_to * (length > 0)
        positions = torch.arange(tokens.shape[2], device=mask.device)  # (L,)
        pooled = []
        for convolution in self.convolutions:
            (window,) = convolution.kernel_size
            values = self.activation(convolution(nn.functional.pad(tokens, (0, window - 1))))  # (B, F, L)
            inside = (positions <= (length - window).clamp(min=0)) & (length > 0)  # (B, L)
            pooled += [_pool(values, inside, pool) for pool in self.pools]
        return torch.cat(pooled, -1) * (length > 0)


def _pool(values: torch.Tensor, inside: torch.Tensor, pool: str) -> torch.Tensor:
    """Pool values (B, F, L) over the True positions of a mask (B, L): return (B, F), any number if there are none."""
    if pool == "mean":
        return masked_mean(values.transpose(1, 2), inside)
    limits = torch.finfo(values.dtype)
    if pool == "max":
        return values.masked_fill(~inside.unsqueeze(1), limits.min).amax(2)
    return values.masked_fill(~inside.unsqueeze(1), limits.max).amin(2)
