"""What takes the place of an image encoder if the images are vectors that were computed beforehand."""

from pathlib import Path

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig

from .common_cnns import OWN_IMAGE_ENCODERS


@strict
class PrecomputedConfig(PreTrainedConfig):
    """Config of what takes the place of an image encoder if the images are vectors that were computed beforehand.

    Args:
        hidden_size: The length of a vector. By default it is that of AlexNet's last hidden layers.
    """

    model_type = "precomputed"
    num_regions = 1

    hidden_size: int = 4096


class Precomputed(nn.Module):
    """An image encoder without weights, whose model reads `image_features` (B, K, 1, D)."""

    def __init__(self, config: PrecomputedConfig):
        super().__init__()
        self.hidden_size = config.hidden_size

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"This model reads image_features (B, K, 1, {self.hidden_size}), and not pixel_values.")


def own_image_config(image: str | Path, hidden_size: int | None = None, **sizes) -> PreTrainedConfig | None:
    """Return the config of one of this project's image encoders, or None for the name of a backbone.

    Args:
        hidden_size: The length of vectors that were computed beforehand.
        sizes: The size of the images, for the other encoders.
    """
    if image == PrecomputedConfig.model_type:
        return PrecomputedConfig(hidden_size=hidden_size or PrecomputedConfig.hidden_size)
    return OWN_IMAGE_ENCODERS[image](**sizes) if image in OWN_IMAGE_ENCODERS else None
