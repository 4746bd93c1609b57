"""Deep Fusion: a convolutional network for the text and one for the image, joined by fully connected layers.

Chen, Wang, Liu: *Visual and Textual Sentiment Analysis Using Deep Fusion Convolutional Neural Networks*. ICIP 2017,
https://arxiv.org/abs/1711.07798.

No code was published.
"""

from itertools import pairwise
from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_cnns import TextCNN
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import FeatureNorm, masked_mean
from .common_processing import MultimodalProcessor


@strict
class DeepFusionConfig(MultimodalConfig):
    """Config of Deep Fusion: the fields of `MultimodalConfig` and these.

    The rows of the paper are values of `branch`: `"both"` is Deep Fusion, `"text"` is ST and `"image"` is SV. The
    paper's image branch is the encoder `"alexnet"`, with 9,216 features at 224 pixels.

    Args:
        branch: The modalities that the model reads. The encoder of the other modality does not exist.
        windows: The widths of the text's convolutions, in words.
        pad_to: The number of words to which every text is padded with zeros, 150 in the paper, so that all windows of
            this length are pooled. Longer texts are cut. By default only the windows inside a text are pooled.
        filters: The number of filters of each width (not stated in the paper; 100 as in Kim, EMNLP 2014).
        fc_sizes: The sizes of the fully connected layers before the last, which has one output per class (not stated
            in the paper).
        dropout: The share that is dropped before each fully connected layer but the first (not stated in the paper).
        standardize: As in `MultimodalConfig`, but the features of texts are standardised too.
    """

    model_type = "deep_fusion"

    branch: Literal["both", "text", "image"] = "both"
    windows: list[int] | tuple[int, ...] = (3, 4, 5)
    pad_to: int | None = None
    filters: int = 100
    fc_sizes: list[int] | tuple[int, ...] = (1024, 256)
    dropout: float = 0.2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not self.windows:
            raise ValueError(f"windows={self.windows}: give the width of one convolution or more.")
        if self.pad_to is not None and (self.branch == "image" or self.pad_to < max(self.windows)):
            raise ValueError(f"pad_to={self.pad_to} needs a branch that reads text, and no window that is wider.")

    @property
    def text_size(self) -> int:
        """The number of features of a text: maximum, mean and minimum of each filter (9F with three windows)."""
        return 3 * len(self.windows) * self.filters if self.branch != "image" else 0

    @property
    def image_size(self) -> int:
        """The number of features of an image, its flattened feature map."""
        return self.image_regions * self.image_hidden_size if self.branch != "text" else 0


class DeepFusionProcessor(MultimodalProcessor):
    """The processor of Deep Fusion: by default 150 tokens of text (the paper's length) and one image."""

    default_max_length = 150


class DeepFusionPreTrainedModel(MultimodalPreTrainedModel):
    config_class = DeepFusionConfig
    base_model_prefix = "deep_fusion"


class DeepFusionModel(DeepFusionPreTrainedModel):
    """The features of both modalities, concatenated, without the fully connected layers."""

    _auto_class = "AutoModel"

    def __init__(self, config: DeepFusionConfig):
        super().__init__(config)
        self.add_encoders(config, text=config.branch != "image", image=config.branch != "text")
        self.text_cnn = self.text_norm = None
        if config.branch != "image":
            poolings = ("max", "mean", "min")
            sizes = (config.text_hidden_size, config.filters, config.windows)
            self.text_cnn = TextCNN(*sizes, poolings, torch.tanh, config.pad_to)
            self.text_norm = FeatureNorm(config.text_size) if config.standardize else None
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor | None,
        text_mask: torch.Tensor | None,
        regions: torch.Tensor | None,
        image_mask: torch.Tensor | None,
    ) -> MultimodalOutput:
        """Concatenate the features; `fused` is [text; image] (B, 9F + R·D); image is the mean of all images."""
        features = []
        if tokens is not None:
            text = self.text_cnn(tokens, text_mask)  # (B, 9F)
            features.append(text if self.text_norm is None else self.text_norm(text, text_mask.any(1)))
        if regions is not None:
            features.append(masked_mean(regions.flatten(2), image_mask))  # (B, R·D)
        return MultimodalOutput(fused=torch.cat(features, -1))


class DeepFusionForSequenceClassification(MultimodalForSequenceClassification, DeepFusionPreTrainedModel):
    """Deep Fusion with its fully connected layers, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = DeepFusionModel

    def add_head(self, config: DeepFusionConfig) -> None:
        sizes = [config.text_size + config.image_size, *config.fc_sizes]
        layers = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(config.dropout)]
        self.dropout = nn.Identity()  # the classifier has its own
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], config.num_labels))
