"""MemNet: a memory of words that an aspect reads hop by hop.

Tang, Qin, Liu: *Aspect Level Sentiment Classification with Deep Memory Network*. EMNLP 2016,
https://arxiv.org/abs/1605.08900.

It is a baseline of MIMN's paper, whose code, github.com/xunan0812/MIMN, calls it `MemNet`.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import GuidedAttention, ProjectedAttention
from .common_memory import TextAspectConfig, TextAspectPreTrainedModel, mean_aspect, padding_word
from .common_positions import PositionProcessor, fit_positions


@strict
class MemNetConfig(TextAspectConfig):
    """Config of MemNet: the fields of `TextAspectConfig` and these. Every vector has the text's width.

    Args:
        hops: The number of passes over the memory, at least 1. They share their weights.
        scoring: `"scalar"` as in the paper's attention, `tanh(W[m_i; v] + b)`, and in the code, or `"additive"`, see
            `GuidedAttention` and `ProjectedAttention`.
        location: `"linear"`, the paper's model 2: a word at a distance of l from the aspect is multiplied by 1 - l/n
            in a text of n words, and the aspect's own place is left out, where the text marks it (`$T$`). `"none"`,
            as in the code.
        dropout: The share of the vector that is dropped before the classifier (none in the code; 0.5 in MIMN's paper).
    """

    model_type = "memnet"

    hops: int = 3
    scoring: Literal["scalar", "additive"] = "additive"
    location: Literal["linear", "none"] = "linear"
    dropout: float = 0.0

    @property
    def fused_size(self) -> int:
        """The length of the vector after the last hop."""
        return self.text_hidden_size


class MemNetProcessor(PositionProcessor):
    """The processor of MemNet: by default 320 tokens of text and 4 of the aspect, as in MIMN's paper."""

    default_max_length = 320


class MemNetPreTrainedModel(TextAspectPreTrainedModel):
    config_class = MemNetConfig
    base_model_prefix = "memnet"
    further_inputs = ("positions",)


class MemNetModel(MemNetPreTrainedModel):
    """The memory and its hops, without classifier.

    In each hop `v = Att(memory, v) + Lin(v)`. In the official reading the attention is guided by `Lin(v)`, too. The
    vector starts as the mean of the aspect's tokens, with padding if the config has `pad_to`.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: MemNetConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.text_hidden_size
        is_paper = config.reading == "paper"
        self.attention = (
            GuidedAttention(size, size, config.scoring) if is_paper else ProjectedAttention(size, config.scoring)
        )
        self.update = nn.Linear(size, size)
        self.aspect_padding = padding_word(config)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: None,
        image_mask: None,
        aspect: torch.Tensor,
        aspect_mask: torch.Tensor,
        positions: torch.Tensor | None,
    ) -> MultimodalOutput:
        """Read the memory hop by hop; `fused` is the last vector (B, D). There is one attention per hop.

        The vector of an absent aspect is zero. With `pad_to`, the weights of a post that has padding sum to less than
        one.
        """
        config = self.config
        if config.location == "linear":
            tokens, text_mask = locate(tokens, text_mask, fit_positions(positions, text_mask))
        vector = mean_aspect(aspect, aspect_mask, self.aspect_padding, config.pad_aspect_to)  # (B, D)
        attentions = []
        for _ in range(config.hops):
            if config.reading == "paper":
                read, weights = self.attention(tokens, text_mask, vector)
                vector = read + self.update(vector)
            else:
                vector = self.update(vector)
                read, weights = self.attention(tokens, text_mask, vector, config.pad_to)
                vector = read + vector
            attentions.append(weights)
        return MultimodalOutput(text_attentions=tuple(attentions), fused=vector)


def locate(tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight tokens (B, L, D) with mask (B, L) bool by their distance to the aspect, and mask the aspect's own place.

    Args:
        positions: (B, L) The signed distances. A text in which all are zero has no mark.
    """
    length = mask.sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    weights = 1 - positions.abs() / length  # (B, L)
    is_marked = positions.any(1, keepdim=True)  # (B, 1)
    return tokens * weights.to(tokens.dtype).unsqueeze(-1), mask & ~(is_marked & (positions == 0))


class MemNetForSequenceClassification(MultimodalForSequenceClassification, MemNetPreTrainedModel):
    """MemNet with the paper's classifier, `softmax(W v + b)`, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = MemNetModel
