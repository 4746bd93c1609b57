"""Small convolutional networks that are trained from scratch. Each maps pixels (N, 3, H, W) to a map (N, D, h, w)."""

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig


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
