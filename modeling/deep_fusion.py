"""Deep Fusion: a convolutional network for the text and one for the image, joined by fully connected layers.

Xingyue Chen, Yunhong Wang, Qingjie Liu: Visual and Textual Sentiment Analysis Using Deep Fusion Convolutional Neural
Networks. ICIP 2017, arXiv 1711.07798. No code was published.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .common_layers import FeatureNorm, masked_mean
from .common_processing import MultimodalProcessor


@strict
class DeepFusionConfig(MultimodalConfig):
    """Config of Deep Fusion; the fields of `MultimodalConfig` and these.

    The paper's rows are `branch`: `"both"` is Deep Fusion, `"text"` its ST, `"image"` its SV. Its image branch is the
    encoder `"alexnet"`, with 9,216 features at 224 pixels.

    Args:
        branch: which modalities are read; the encoder of the other does not exist.
        windows: widths of the text's convolutions, in words.
        filters: of each width (unstated in the paper; 100 as in Kim, EMNLP 2014).
        fc_sizes: of the fully connected layers before the last, which has one output a class (unstated in the paper).
        dropout: before each fully connected layer but the first (unstated in the paper).
        standardize: as everywhere, and the features of texts too.
    """

    model_type = "deep_fusion"

    branch: Literal["both", "text", "image"] = "both"
    windows: list[int] | tuple[int, ...] = (3, 4, 5)
    filters: int = 100
    fc_sizes: list[int] | tuple[int, ...] = (1024, 256)
    dropout: float = 0.2

    @property
    def text_size(self) -> int:
        """Features of a text: maximum, mean and minimum of each filter (9F with three windows)."""
        return 3 * len(self.windows) * self.filters if self.branch != "image" else 0

    @property
    def image_size(self) -> int:
        """Features of an image: its map, flattened."""
        return self.image_regions * self.image_hidden_size if self.branch != "text" else 0


class DeepFusionProcessor(MultimodalProcessor):
    """The processor of Deep Fusion: 150 tokens of text, one image unless told otherwise, no aspect."""

    default_max_length = 150


class TextCNN(nn.Module):
    """Convolutions over words, `tanh`, and three poolings over the places of each filter."""

    def __init__(self, config: DeepFusionConfig):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.text_hidden_size, config.filters, window) for window in config.windows
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """tokens (B, L, D), mask (B, L) bool, True from the first token on -> (B, 9F), window by window its maxima,
        means and minima.

        Only windows that lie within the text are pooled: the paper pads every text to 150 words, and its means would
        tell the length. A text shorter than a window has one, filled up with zeros; no text gives zeros.
        """
        length = mask.sum(1, keepdim=True)  # (B, 1)
        places = torch.arange(mask.shape[1], device=mask.device)  # (L,)
        tokens = (tokens * mask.unsqueeze(-1)).transpose(1, 2)  # (B, D, L)
        pooled = []
        for convolution in self.convolutions:
            (window,) = convolution.kernel_size
            values = torch.tanh(convolution(nn.functional.pad(tokens, (0, window - 1))))  # (B, F, L)
            inside = (places <= (length - window).clamp(min=0)) & (length > 0)  # (B, L)
            outside = ~inside.unsqueeze(1)
            # tanh lies within ±1
            maxima = values.masked_fill(outside, -1).amax(2)  # (B, F)
            minima = values.masked_fill(outside, 1).amin(2)
            pooled += [maxima, masked_mean(values.transpose(1, 2), inside), minima]
        return torch.cat(pooled, -1) * (length > 0)


class DeepFusionPreTrainedModel(MultimodalPreTrainedModel):
    config_class = DeepFusionConfig
    base_model_prefix = "deep_fusion"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class DeepFusionModel(DeepFusionPreTrainedModel):
    """The features of both modalities, side by side, without the fully connected layers."""

    _auto_class = "AutoModel"

    def __init__(self, config: DeepFusionConfig):
        super().__init__(config)
        self.add_encoders(config, text=config.branch != "image", image=config.branch != "text")
        self.text_cnn = TextCNN(config) if config.branch != "image" else None
        self.text_norm = FeatureNorm(config.text_size) if config.branch != "image" and config.standardize else None
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **kwargs,
    ) -> MultimodalOutput:
        """See `MultimodalOutput`; `fused` is [text; image] (B, 9F + R·D), of several images their mean."""
        features = []
        if self.config.branch != "image":
            tokens, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
            text = self.text_cnn(tokens, text_mask)  # (B, 9F)
            features.append(text if self.text_norm is None else self.text_norm(text, text_mask.any(1)))
        if self.config.branch != "text":
            regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
            features.append(masked_mean(regions.flatten(2), image_mask))  # (B, R·D)
        return MultimodalOutput(fused=torch.cat(features, -1))


class DeepFusionForSequenceClassification(DeepFusionPreTrainedModel):
    """Deep Fusion with its fully connected layers, trained by cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: DeepFusionConfig):
        super().__init__(config)
        self.deep_fusion = DeepFusionModel(config)
        sizes = [config.text_size + config.image_size, *config.fc_sizes]
        layers = []
        for inputs, outputs in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(config.dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], config.num_labels))
        self.post_init()

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> MultimodalOutput:
        """The inputs of `DeepFusionModel.forward`, and labels (B,) for the loss; returns its output with `logits`
        (B, C)."""
        output = self.deep_fusion(**inputs)
        output.logits = self.classifier(output.fused)
        output.loss = self.classification_loss(output.logits, labels)
        return output
