"""Co-Memory+Aspect: the co-memory network with both memories started by the aspect, a baseline of MIMN's paper.

Xu, Mao, Chen: *Multi-Interactive Memory Network for Aspect Based Multimodal Sentiment Analysis*. AAAI 2019,
https://github.com/xunan0812/MIMN.

The paper names the baseline without equations. This follows the authors' code, github.com/xunan0812/MIMN, which calls
it MemNet2.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import MaskedLSTM, ProjectedAttention, masked_mean
from .common_memory import AspectMemoryPreTrainedModel, image_slots, region_weights
from .common_processing import MultimodalProcessor


@strict
class CoMemoryAspectConfig(MultimodalConfig):
    """Config of Co-Memory+Aspect: the fields of `MultimodalConfig` and these. Every vector has the text's width.

    Args:
        hops: The number of updates of both vectors, at least 1.
        scoring: `"scalar"` as in the authors' code, or `"additive"`, see `ProjectedAttention`.
        image_memory: What a slot of the image memory is. `"images"`, as in the authors' code: an image, as the mean
            of its regions. `"regions"`: a region of any image.
        dropout: The share of the two vectors that is dropped before the classifier (none in the authors' code).
    """

    model_type = "co_memory_aspect"

    hops: int = 3
    scoring: Literal["scalar", "additive"] = "additive"
    image_memory: Literal["images", "regions"] = "regions"
    dropout: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.hops < 1:
            raise ValueError(f"hops={self.hops}: at least one hop is needed.")

    @property
    def fused_size(self) -> int:
        """The length of [v_text; v_image]."""
        return 2 * self.text_hidden_size


class CoMemoryAspectProcessor(MultimodalProcessor):
    """The processor of Co-Memory+Aspect: by default 320 tokens of text, 4 of the aspect, and 5 images, as of MIMN."""

    default_max_length = 320
    default_max_images = 5


class CoMemoryAspectPreTrainedModel(AspectMemoryPreTrainedModel):
    config_class = CoMemoryAspectConfig
    base_model_prefix = "co_memory_aspect"


class CoMemoryAspectModel(CoMemoryAspectPreTrainedModel):
    """The two memories and their hops, without classifier.

    In each hop `v_text = Lin(v_text) + Att(text memory, v_image)`, and then `v_image = Lin(v_image) + Att(image
    memory, v_text)`, which reads the new `v_text`. Both vectors and all hops share one `Lin` and one `Att`. Both
    vectors start as the mean of the aspect's tokens.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: CoMemoryAspectConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.text_hidden_size
        self.image_lstm = MaskedLSTM(config.image_hidden_size, size, bidirectional=False)
        self.update = nn.Linear(size, size)
        self.attention = ProjectedAttention(size, config.scoring)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        aspect: torch.Tensor,
        aspect_mask: torch.Tensor,
    ) -> MultimodalOutput:
        """Update both vectors hop by hop; `fused` is [v_text; v_image] (B, 2 · D).

        Each tuple of attentions has `hops` tensors. An absent aspect is a zero vector.
        """
        image_memory = self.config.image_memory
        slots, slot_mask = image_slots(regions, image_mask, image_memory)  # (B, M, D_i), (B, M)
        images = self.image_lstm(slots, slot_mask)  # (B, M, D)
        v_text = v_image = masked_mean(aspect, aspect_mask)  # (B, D)
        text_attentions, image_attentions = [], []
        for _ in range(self.config.hops):
            text_read, text_weights = self.attention(tokens, text_mask, v_image)
            v_text = self.update(v_text) + text_read
            image_read, image_weights = self.attention(images, slot_mask, v_text)
            v_image = self.update(v_image) + image_read
            text_attentions.append(text_weights)
            image_attentions.append(region_weights(image_weights, regions.shape[2], image_memory))
        return MultimodalOutput(
            text_attentions=tuple(text_attentions),
            image_attentions=tuple(image_attentions),
            fused=torch.cat([v_text, v_image], -1),
        )


class CoMemoryAspectForSequenceClassification(MultimodalForSequenceClassification, CoMemoryAspectPreTrainedModel):
    """Co-Memory+Aspect with the classifier of the authors' code, `softmax(W[v_text; v_image] + b)`, trained with
    cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = CoMemoryAspectModel
