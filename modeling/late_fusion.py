"""Late Fusion: two logistic regressions, one on the text and one on the image, whose probabilities are averaged.

You, Cao, Jin, Luo: *Robust Visual-Textual Sentiment Analysis: When Attention Meets Tree-Structured Recursive
Neural Networks*. ACM MM 2016, https://doi.org/10.1145/2964284.2964288.

It is a baseline of the paper. The features are those of Early Fusion. `train.py --lbfgs true` finds the optimum of
both regressions.
"""

import math

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_processing import MultimodalProcessor
from .common_regression import RegressionConfig, RegressionModel, RegressionPreTrainedModel, split_fused


@strict
class LateFusionConfig(RegressionConfig):
    """Config of Late Fusion: the fields of `RegressionConfig`."""

    model_type = "late_fusion"


class LateFusionProcessor(MultimodalProcessor):
    """The processor of Late Fusion: by default 150 tokens of text and one image."""

    default_max_length = 150


class LateFusionPreTrainedModel(RegressionPreTrainedModel):
    config_class = LateFusionConfig
    base_model_prefix = "late_fusion"


class LateFusionModel(RegressionModel, LateFusionPreTrainedModel):
    """The pooled features of text and image, without the regressions."""

    _auto_class = "AutoModel"


class LateFusionForSequenceClassification(MultimodalForSequenceClassification, LateFusionPreTrainedModel):
    """The two logistic regressions, each trained with its own cross-entropy on the label of the post."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = LateFusionModel

    def add_head(self, config: LateFusionConfig) -> None:
        sizes = {"text": config.text_hidden_size, "image": config.image_hidden_size}
        self.classifier = nn.ModuleDict({name: nn.Linear(size, config.num_labels) for name, size in sizes.items()})

    def classify(self, output: MultimodalOutput) -> None:
        """Set `text_logits` and `image_logits` (B, C), and `logits` (B, C), the logarithm of the mean probability."""
        text, image = split_fused(output.fused, self.config)
        output.text_logits, output.image_logits = self.classifier["text"](text), self.classifier["image"](image)
        logs = [logits.float().log_softmax(-1) for logits in (output.text_logits, output.image_logits)]
        output.logits = torch.logaddexp(*logs) - math.log(2)

    def compute_loss(self, output: MultimodalOutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        losses = [self.classification_loss(logits, labels) for logits in (output.text_logits, output.image_logits)]
        return sum(losses)
