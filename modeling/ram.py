"""RAM: a BiLSTM's memory of a text, weighted by the distance to the aspect, and attentions that a GRU combines.

Chen, Sun, Bing, Yang: *Recurrent Attention Network on Memory for Aspect Sentiment Analysis*. EMNLP 2017,
https://aclanthology.org/D17-1047.

It is a baseline of MIMN's paper, whose code, github.com/xunan0812/MIMN, calls it `RAM`.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import GuidedAttention, MaskedLSTM, ProjectedAttention, attend, masked_mean, masked_softmax
from .common_memory import TextAspectConfig, TextAspectPreTrainedModel
from .common_positions import PositionProcessor, fit_positions


@strict
class RAMConfig(TextAspectConfig):
    """Config of RAM: the fields of `TextAspectConfig` and these.

    Args:
        hops: The number of attentions, at least 1. In the paper each has its own weights, in the code they share them.
        scoring: `"linear"` as in the paper, `W[m_i; e; a] + b`: what it has of the episode `e` and the aspect `a` is
            the same for each word, so that the softmax removes it, and only the distances tell what the aspect is.
            `"additive"`: `u·tanh(W[m_i; e; a] + b)`. The official reading has one score, `tanh(w·[k_i; q])`.
        max_distance: The paper's t_max, the length at which it cuts texts. A word at a distance of t from the aspect
            is weighted by 1 - t/max_distance, where the text marks it (`$T$`), and t/max_distance, negative before the
            aspect, is a further number of its slot.
        hidden_size: The number of units of each BiLSTM in one direction. Memories and vectors are twice as wide. The
            paper stacks BiLSTMs; here it is one, as in the code.
        dropout: The share of the last episode that is dropped before the classifier (none in the code; 0.5 in MIMN's
            paper).
    """

    model_type = "ram"

    hops: int = 3
    scoring: Literal["linear", "additive"] = "additive"
    max_distance: int = 50
    hidden_size: int = 100
    dropout: float = 0.0

    @property
    def fused_size(self) -> int:
        """The length of the last episode."""
        return 2 * self.hidden_size


class RAMProcessor(PositionProcessor):
    """The processor of RAM: by default 320 tokens of text and 4 of the aspect, as in MIMN's paper."""

    default_max_length = 320


class RAMPreTrainedModel(TextAspectPreTrainedModel):
    config_class = RAMConfig
    base_model_prefix = "ram"
    further_inputs = ("positions",)


class LinearAttention(nn.Module):
    """Attention with `score_i = w·m_i`, whatever the guide."""

    def __init__(self, size: int):
        super().__init__()
        self.score = nn.Linear(size, 1, bias=False)

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool: return vector (B, D) and weights (B, M)."""
        weights = masked_softmax((memory * self.score.weight[0]).sum(-1), mask)
        return attend(weights, memory), weights


class RAMModel(RAMPreTrainedModel):
    """The memory and the attentions whose results a GRU combines, without classifier.

    In the paper the first episode is zero, and the aspect is the mean of its tokens. In the official reading the first
    episode is the mean of a BiLSTM's states over the aspect.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: RAMConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = 2 * config.hidden_size
        self.text_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=True)
        if config.reading == "official":
            self.aspect_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=True)
            self.attention = ProjectedAttention(size)
            self.gru = nn.GRUCell(size, size)
        else:
            guide_size = size + config.text_hidden_size
            self.attentions = nn.ModuleList(
                LinearAttention(size + 1)
                if config.scoring == "linear"
                else GuidedAttention(size + 1, guide_size, "additive")
                for _ in range(config.hops)
            )
            self.gru = nn.GRUCell(size + 1, size)
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
        """Combine what the attentions read; `fused` is the last episode (B, 2 · hidden_size).

        There is one attention per hop. The vector of an absent aspect is zero. With `pad_to`, the weights of a post
        that has padding sum to less than one.
        """
        memory, attentions = self.text_lstm(tokens, text_mask), []  # (B, L, 2H)
        if self.config.reading == "official":
            episode = masked_mean(self.aspect_lstm(aspect, aspect_mask), aspect_mask)  # (B, 2H)
        else:
            episode, v_aspect = torch.zeros_like(memory[:, 0]), masked_mean(aspect, aspect_mask)
            distance = fit_positions(positions, text_mask) / self.config.max_distance  # (B, L)
            distance = distance.clamp(-1, 1).to(memory.dtype).unsqueeze(-1)
            memory = torch.cat([memory * (1 - distance.abs()), distance], -1)  # (B, L, 2H + 1)
        for hop in range(self.config.hops):
            if self.config.reading == "official":
                read, weights = self.attention(memory, text_mask, episode, self.config.pad_to)
            else:
                read, weights = self.attentions[hop](memory, text_mask, torch.cat([episode, v_aspect], -1))
            episode = self.gru(read, episode)
            attentions.append(weights)
        return MultimodalOutput(text_attentions=tuple(attentions), fused=episode)


class RAMForSequenceClassification(MultimodalForSequenceClassification, RAMPreTrainedModel):
    """RAM with the paper's classifier, `softmax(W e + b)`, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = RAMModel
