"""CCR: three logistic regressions, on the text, on the image and on both, whose distributions agree.

You, Luo, Jin, Yang: *Cross-modality Consistent Regression for Joint Visual-Textual Sentiment Analysis of Social
Multimedia*. WSDM 2016, https://doi.org/10.1145/2835776.2835779.

No code was published. The loss is this project's reading: with the distributions p_t of the text, p_v of the image
and p_f of both, it is CE(p_f, y) + λ (KL(p_f ‖ p_t) + KL(p_f ‖ p_v)), and p_f decides. So p_t and p_v learn from p_f
alone, and p_f is drawn to what each modality can say. Unlike the losses of Early Fusion and Late Fusion it is not
convex; `train.py --lbfgs true` then finds a minimum near the start.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_processing import MultimodalProcessor
from .common_regression import RegressionConfig, RegressionModel, RegressionPreTrainedModel, split_fused


@strict
class CCRConfig(RegressionConfig):
    """Config of CCR: the fields of `RegressionConfig` and these.

    Args:
        consistency: The weight λ of the divergences.
    """

    model_type = "ccr"

    consistency: float = 1.0


class CCRProcessor(MultimodalProcessor):
    """The processor of CCR: by default 150 tokens of text and one image."""

    default_max_length = 150


class CCRPreTrainedModel(RegressionPreTrainedModel):
    config_class = CCRConfig
    base_model_prefix = "ccr"


class CCRModel(RegressionModel, CCRPreTrainedModel):
    """The pooled features of text and image, concatenated, without the regressions."""

    _auto_class = "AutoModel"


class CCRForSequenceClassification(MultimodalForSequenceClassification, CCRPreTrainedModel):
    """The three logistic regressions, trained with cross-entropy and consistency."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = CCRModel

    def add_head(self, config: CCRConfig) -> None:
        sizes = {"text": config.text_hidden_size, "image": config.image_hidden_size, "both": config.fused_size}
        self.classifier = nn.ModuleDict({name: nn.Linear(size, config.num_labels) for name, size in sizes.items()})

    def classify(self, output: MultimodalOutput) -> None:
        """Set `text_logits`, `image_logits` and `logits` (B, C)."""
        text, image = split_fused(output.fused, self.config)
        output.text_logits, output.image_logits = self.classifier["text"](text), self.classifier["image"](image)
        output.logits = self.classifier["both"](output.fused)

    def compute_loss(self, output: MultimodalOutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        fused = output.logits.float().log_softmax(-1)  # (B, C)
        divergence = sum(
            F.kl_div(logits.float().log_softmax(-1), fused, reduction="batchmean", log_target=True)
            for logits in (output.text_logits, output.image_logits)
        )
        return self.classification_loss(output.logits, labels) + self.config.consistency * divergence
