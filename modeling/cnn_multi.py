"""CNN-Multi: a convolutional network over the stacked feature vectors of a text and of an image.

Cai, Xia: *Convolutional Neural Networks for Multimedia Sentiment Analysis*. NLPCC 2015.

No code was published. The paper states the idea: two networks learn features of the text and of the image, and a third
network reads both. The layers of the third network are a reading of this project, and so are all sizes.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_cnns import TextCNN
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean
from .common_processing import MultimodalProcessor


@strict
class CNNMultiConfig(MultimodalConfig):
    """Config of CNN-Multi: the fields of `MultimodalConfig` and these.

    Args:
        windows: The widths of the text's convolutions, in words.
        filters: The number of filters of each width.
        feature_size: The length D of the two feature vectors that are stacked.
        joint_filters: The number of filters of the joint network.
        joint_window: The number of neighbouring features that a joint filter reads of both vectors.
        joint_hidden: The width of the fully connected layer that ends the joint network.
        dropout: The share that is dropped of the feature vectors, and of what the classifier reads.
    """

    model_type = "cnn_multi"

    windows: list[int] | tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    feature_size: int = 128
    joint_filters: int = 32
    joint_window: int = 5
    joint_hidden: int = 256
    dropout: float = 0.2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.feature_size <= self.joint_window:
            raise ValueError(f"joint_window={self.joint_window} needs a larger feature_size than {self.feature_size}.")

    @property
    def fused_size(self) -> int:
        """The length of the joint network's output."""
        return self.joint_hidden


class CNNMultiProcessor(MultimodalProcessor):
    """The processor of CNN-Multi: by default 50 tokens of text and one image."""


class CNNMultiPreTrainedModel(MultimodalPreTrainedModel):
    config_class = CNNMultiConfig
    base_model_prefix = "cnn_multi"


class CNNMultiModel(CNNMultiPreTrainedModel):
    """The networks of the text and of the image, and the joint network, without classifier.

    With the features c of the text's convolutions (the maximum of each filter) and the flattened map m of the image:
    `t = relu(W_t c + b_t)`, `v = relu(W_v m + b_v)`. The joint network is a convolution over the D positions of
    [t; v] (2, D), `relu`, the maximum of each pair of neighbouring positions, and a fully connected layer with `relu`.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: CNNMultiConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_cnn = TextCNN(config.text_hidden_size, config.filters, config.windows)
        self.text_proj = nn.Linear(len(config.windows) * config.filters, config.feature_size)
        self.image_proj = nn.Linear(config.image_regions * config.image_hidden_size, config.feature_size)
        self.dropout = nn.Dropout(config.dropout)
        self.joint = nn.Conv1d(2, config.joint_filters, config.joint_window)
        positions = (config.feature_size - config.joint_window + 1) // 2
        self.joint_proj = nn.Linear(config.joint_filters * positions, config.joint_hidden)
        self.post_init()

    def fuse(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> MultimodalOutput:
        """Read both with the joint network; `fused` is its output (B, joint_hidden). The image is the mean of all
        images, and the vector of what is absent is zero."""
        text = torch.relu(self.text_proj(self.text_cnn(tokens, text_mask)))  # (B, D)
        image = torch.relu(self.image_proj(masked_mean(regions.flatten(2), image_mask)))  # (B, D)
        present = torch.stack([text_mask.any(1), image_mask.any(1)], 1).unsqueeze(-1)  # (B, 2, 1)
        stacked = self.dropout(torch.stack([text, image], 1) * present)  # (B, 2, D)
        joint = nn.functional.max_pool1d(torch.relu(self.joint(stacked)), 2)  # (B, F, (D - window + 1) // 2)
        return MultimodalOutput(fused=torch.relu(self.joint_proj(joint.flatten(1))))


class CNNMultiForSequenceClassification(MultimodalForSequenceClassification, CNNMultiPreTrainedModel):
    """CNN-Multi with a linear classifier and softmax, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = CNNMultiModel
