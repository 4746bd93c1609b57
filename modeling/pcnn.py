"""PCNN: a convolutional network for the image, which is trained again on the posts of which it is sure.

You, Luo, Jin, Yang: *Robust Image Sentiment Analysis Using Progressively Trained and Domain Transferred Deep
Networks*. AAAI 2015, https://arxiv.org/abs/1509.06041.

No code was published. The network is the encoder `"lrn_cnn"` at 227 pixels and fully connected layers of 512, 512
and 24. Progressive training is a second run from the trained model: `train.py --init_from RUN --keep_progressively
true` keeps a post with the probability min(1, exp|s1 - s2| - 1), where s1 and s2 are the scores of the two classes.
With more than two classes they are the two highest scores, which is this project's reading.
"""

from itertools import pairwise

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean
from .common_processing import MultimodalProcessor


@strict
class PCNNConfig(MultimodalConfig):
    """Config of PCNN: the fields of `MultimodalConfig` and these.

    Args:
        fc_sizes: The sizes of the fully connected layers before the last, which has one output per class.
        dropout: The share that is dropped before each fully connected layer but the first (not stated in the paper).
    """

    model_type = "pcnn"

    fc_sizes: list[int] | tuple[int, ...] = (512, 512, 24)
    dropout: float = 0.2

    @property
    def image_size(self) -> int:
        """The number of features of an image, its flattened feature map."""
        return self.image_regions * self.image_hidden_size


class PCNNProcessor(MultimodalProcessor):
    """The processor of PCNN, which reads one image by default. `crop=True` cuts out the centre, as in the paper."""


class PCNNPreTrainedModel(MultimodalPreTrainedModel):
    config_class = PCNNConfig
    base_model_prefix = "pcnn"
    input_modalities = ("image",)


class PCNNModel(PCNNPreTrainedModel):
    """The flattened feature map of the image, without the fully connected layers."""

    _auto_class = "AutoModel"

    def __init__(self, config: PCNNConfig):
        super().__init__(config)
        self.add_encoders(config, text=False)
        self.post_init()

    def fuse(self, tokens: None, text_mask: None, regions: torch.Tensor, image_mask: torch.Tensor) -> MultimodalOutput:
        """Flatten the feature maps; `fused` is (B, R·D), the mean of all images, and zero without any."""
        return MultimodalOutput(fused=masked_mean(regions.flatten(2), image_mask))


class PCNNForSequenceClassification(MultimodalForSequenceClassification, PCNNPreTrainedModel):
    """PCNN with its fully connected layers, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = PCNNModel

    def add_head(self, config: PCNNConfig) -> None:
        sizes = [config.image_size, *config.fc_sizes]
        layers = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(config.dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], config.num_labels))

    def classify(self, output: MultimodalOutput) -> None:
        output.logits = self.classifier(output.fused)
