"""Early Fusion: one logistic regression on the features of text and image, concatenated.

You, Cao, Jin, Luo: *Robust Visual-Textual Sentiment Analysis: When Attention Meets Tree-Structured Recursive
Neural Networks*. ACM MM 2016, https://doi.org/10.1145/2964284.2964288.

It is a baseline of the paper, on features of a convolutional network and doc2vec. Here they are the mean over the
regions of any image encoder and the mean over the tokens of any text encoder. `train.py --lbfgs true` finds the
optimum.
"""

from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_processing import MultimodalProcessor
from .common_regression import RegressionConfig, RegressionModel, RegressionPreTrainedModel


@strict
class EarlyFusionConfig(RegressionConfig):
    """Config of Early Fusion: the fields of `RegressionConfig`."""

    model_type = "early_fusion"


class EarlyFusionProcessor(MultimodalProcessor):
    """The processor of Early Fusion: by default 150 tokens of text and one image."""

    default_max_length = 150


class EarlyFusionPreTrainedModel(RegressionPreTrainedModel):
    config_class = EarlyFusionConfig
    base_model_prefix = "early_fusion"


class EarlyFusionModel(RegressionModel, EarlyFusionPreTrainedModel):
    """The pooled features of text and image, concatenated, without the regression."""

    _auto_class = "AutoModel"


class EarlyFusionForSequenceClassification(MultimodalForSequenceClassification, EarlyFusionPreTrainedModel):
    """The logistic regression, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = EarlyFusionModel

    def add_head(self, config: EarlyFusionConfig) -> None:
        self.classifier = nn.Linear(config.fused_size, config.num_labels)

    def classify(self, output: MultimodalOutput) -> None:
        output.logits = self.classifier(output.fused)
