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
from .common_heads import MultimodalForSequenceClassification
from .common_layers import MaskedLSTM, ProjectedAttention
from .common_memory import (
    AspectMemoryConfig,
    AspectMemoryPreTrainedModel,
    image_slots,
    mean_aspect,
    padding_word,
    region_weights,
)
from .common_processing import MultimodalProcessor


@strict
class CoMemoryAspectConfig(AspectMemoryConfig):
    """Config of Co-Memory+Aspect: the fields of `AspectMemoryConfig` and these. Every vector has the text's width.

    Args:
        pad_aspect_to: The number of words to which every aspect is padded if `pad_to` is set (4 in the paper, 2 in the
            code). The code's mean of the aspect's words sums this padding, too: with n words, it is their mean and
            (pad_aspect_to - n) / n times the vector of padding, which is trained.
        scoring: `"scalar"` as in the authors' code, or `"additive"`, see `ProjectedAttention`.
        image_memory: What a slot of the image memory is. `"images"`, as in the authors' code: an image, as the mean
            of its regions. `"regions"`: a region of any image.
        dropout: The share of the two vectors that is dropped before the classifier (none in the authors' code).
    """

    model_type = "co_memory_aspect"

    pad_aspect_to: int = 4
    scoring: Literal["scalar", "additive"] = "additive"
    image_memory: Literal["images", "regions"] = "regions"
    dropout: float = 0.0

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
    vectors start as the mean of the aspect's tokens, with padding if the config has `pad_to`.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: CoMemoryAspectConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.text_hidden_size
        self.image_lstm = MaskedLSTM(config.image_hidden_size, size, bidirectional=False)
        self.update = nn.Linear(size, size)
        self.attention = ProjectedAttention(size, config.scoring)
        self.aspect_padding = padding_word(config)
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

        Each tuple of attentions has `hops` tensors. An absent aspect is a zero vector. With `pad_to`, the weights of
        a post that has padding sum to less than one.
        """
        image_memory = self.config.image_memory
        slots, slot_mask = image_slots(regions, image_mask, image_memory)  # (B, M, D_i), (B, M)
        images = self.image_lstm(slots, slot_mask)  # (B, M, D)
        v_text = v_image = mean_aspect(aspect, aspect_mask, self.aspect_padding, self.config.pad_aspect_to)  # (B, D)
        text_attentions, image_attentions = [], []
        for _ in range(self.config.hops):
            text_read, text_weights = self.attention(tokens, text_mask, v_image, self.config.pad_to)
            v_text = self.update(v_text) + text_read
            image_read, image_weights = self.attention(images, slot_mask, v_text, self.config.image_slots)
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
