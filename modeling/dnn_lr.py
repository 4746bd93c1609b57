"""DNN-LR: a convolutional network for the text, a deep network for the image, and logistic regression over both.

Yu, Lin, Meng, Zhao: *Visual and Textual Sentiment Analysis of a Microblog Using Deep Convolutional Neural Networks*.
Algorithms 2016.

No code was published. What the logistic regression reads is a switch. The paper trains the networks first and the
regression afterwards; here all of them are trained at once, in such a way that they do not change each other.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_cnns import TextCNN
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean
from .common_processing import MultimodalProcessor


@strict
class DNNLRConfig(MultimodalConfig):
    """Config of DNN-LR: the fields of `MultimodalConfig` and these.

    The paper's network for images is the encoder `"alexnet"` with `image_hidden=[4096, 4096]`.

    Args:
        windows: The widths of the text's convolutions, in words.
        filters: The number of filters of each width.
        image_hidden: The widths of the fully connected layers over the flattened map of the image.
        combination: What the logistic regression reads: `"predictions"`, the logarithms of the probabilities that each
            network gives the classes, or `"features"`, the last hidden layers of both networks, which are then
            trained by the regression alone.
        dropout: The share that is dropped of the text's features, and of the weights of the image's layers. This
            project takes the paper's "generalized dropout" for DropConnect (Wan et al., ICML 2013), which drops
            weights.
    """

    model_type = "dnn_lr"

    windows: list[int] | tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    image_hidden: list[int] | tuple[int, ...] = (256,)
    combination: Literal["predictions", "features"] = "predictions"
    dropout: float = 0.5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not self.windows:
            raise ValueError(f"windows={self.windows}: give the width of one convolution or more.")

    @property
    def text_size(self) -> int:
        """The number of features of a text."""
        return len(self.windows) * self.filters

    @property
    def image_sizes(self) -> list[int]:
        """The length of the flattened map of an image, and of the output of each layer over it."""
        return [self.image_regions * self.image_hidden_size, *self.image_hidden]

    @property
    def fused_size(self) -> int:
        """The length of what the logistic regression reads."""
        return 2 * self.num_labels if self.combination == "predictions" else self.text_size + self.image_sizes[-1]


class DNNLRProcessor(MultimodalProcessor):
    """The processor of DNN-LR: by default 50 tokens of text and one image."""


class DropConnect(nn.Linear):
    """A linear layer that drops a share of its weights in training."""

    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__(inputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        return F.linear(vector, self.dropout(self.weight), self.bias)


class Combination(nn.Linear):
    """The logistic regression over two predictions. It starts with their sum, which is the product of probabilities:
    from random weights it needs many more steps than the networks."""


class DNNLRPreTrainedModel(MultimodalPreTrainedModel):
    config_class = DNNLRConfig
    base_model_prefix = "dnn_lr"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Combination):
            init.copy_(module.weight, torch.eye(module.out_features).repeat(1, 2))
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class DNNLRModel(DNNLRPreTrainedModel):
    """The two networks, without the logistic regression."""

    _auto_class = "AutoModel"

    def __init__(self, config: DNNLRConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_cnn = TextCNN(config.text_hidden_size, config.filters, config.windows)
        self.dropout = nn.Dropout(config.dropout)
        layers = []
        for inputs, outputs in pairwise(config.image_sizes):
            layers += [DropConnect(inputs, outputs, config.dropout), nn.ReLU()]
        self.image_layers = nn.Sequential(*layers)
        if config.combination == "predictions":
            self.text_output = nn.Linear(config.text_size, config.num_labels)
            self.image_output = nn.Linear(config.image_sizes[-1], config.num_labels)
        self.post_init()

    def fuse(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> MultimodalOutput:
        """Run both networks; `fused` is what the logistic regression reads (B, fused_size).

        The image is the mean of all images. What is absent has features of zero, and predicts all classes alike.
        """
        has_text, has_image = text_mask.any(1, keepdim=True), image_mask.any(1, keepdim=True)  # (B, 1)
        text = self.dropout(self.text_cnn(tokens, text_mask))  # (B, D_text)
        image = self.image_layers(masked_mean(regions.flatten(2), image_mask))  # (B, D_image)
        if self.config.combination == "features":
            return MultimodalOutput(fused=torch.cat([text, image * has_image], -1))
        logits = [self.text_output(text) * has_text, self.image_output(image) * has_image]  # (B, C) each
        fused = torch.cat([own.float().log_softmax(-1) for own in logits], -1).to(text.dtype)  # (B, 2C)
        # In training, the regression leaves the networks as their own losses make them. Explanations need a gradient.
        fused = fused.detach() if self.training else fused
        return MultimodalOutput(text_logits=logits[0], image_logits=logits[1], fused=fused)


class DNNLRForSequenceClassification(MultimodalForSequenceClassification, DNNLRPreTrainedModel):
    """DNN-LR: the logistic regression, and with `"predictions"` the cross-entropy of each network beside its own."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = DNNLRModel

    def add_head(self, config: DNNLRConfig) -> None:
        self.dropout = nn.Identity()  # the networks have their own
        layer = Combination if config.combination == "predictions" else nn.Linear
        self.classifier = layer(config.fused_size, config.num_labels)

    def compute_loss(self, output: MultimodalOutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        logits = [output.logits]
        if self.config.combination == "predictions":
            logits += [output.text_logits, output.image_logits]
        return sum(self.classification_loss(scores, labels) for scores in logits)
