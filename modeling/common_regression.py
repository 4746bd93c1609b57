"""What logistic regressions on pooled features share: Early Fusion, Late Fusion and CCR."""

import torch
from huggingface_hub.dataclasses import strict

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_layers import FeatureNorm, masked_mean


@strict
class RegressionConfig(MultimodalConfig):
    """Config of a logistic regression on pooled features: the fields of `MultimodalConfig`.

    The papers compute the features once: `freeze_text=True` and `freeze_image=True`. `standardize` also applies to the
    features of texts.
    """

    @property
    def fused_size(self) -> int:
        """The number of features of a post, those of the text and those of the image."""
        return self.text_hidden_size + self.image_hidden_size


class RegressionPreTrainedModel(MultimodalPreTrainedModel):
    pools_regions = True
    pools_tokens = "mean"


class RegressionModel:
    """The pooled features of both modalities; inherited before the `...PreTrainedModel` of an architecture."""

    def __init__(self, config: RegressionConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_norm = FeatureNorm(config.text_hidden_size) if config.standardize else None
        self.post_init()

    def fuse(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> MultimodalOutput:
        """Average the tokens, and the regions of all images; `fused` is [text; image] (B, D + D_i).

        An absent modality is a zero vector.
        """
        text = masked_mean(tokens, text_mask)  # (B, D)
        if self.text_norm is not None:
            text = self.text_norm(text, text_mask.any(1))
        image = masked_mean(regions.squeeze(2), image_mask)  # (B, D_i)
        return MultimodalOutput(fused=torch.cat([text, image], -1))


def split_fused(fused: torch.Tensor, config: RegressionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of the text (B, D) and of the image (B, D_i) from `fused`."""
    return fused.split([config.text_hidden_size, config.image_hidden_size], -1)
