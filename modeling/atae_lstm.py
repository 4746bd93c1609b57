"""ATAE-LSTM: an LSTM that reads the aspect beside each word, and attention over its states.

Wang, Huang, Zhu, Zhao: *Attention-based LSTM for Aspect-level Sentiment Classification*. EMNLP 2016,
https://aclanthology.org/D16-1058.

It is a baseline of MIMN's paper, whose code, github.com/xunan0812/MIMN, calls it `AELSTM`.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import MaskedLSTM, ProjectedAttention, attend, last_state, masked_softmax
from .common_memory import TextAspectConfig, TextAspectPreTrainedModel, mean_aspect, padding_word
from .common_processing import MultimodalProcessor


@strict
class ATAELSTMConfig(TextAspectConfig):
    """Config of ATAE-LSTM: the fields of `TextAspectConfig` and these.

    Args:
        hidden_size: The number of units of the LSTM. The attention of the code is guided by the mean of the aspect's
            words, so that with `reading="official"` it must be `text_hidden_size`. (With the code's own defaults, 100
            and 300, its class cannot be run.)
        dropout: The share of the vector that is dropped before the classifier (none in the code; 0.5 in MIMN's paper).
    """

    model_type = "atae_lstm"

    hidden_size: int = 100
    dropout: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.reading == "official" and self.hidden_size != self.text_hidden_size:
            raise ValueError(
                f"hidden_size={self.hidden_size}: reading='official' needs text_hidden_size={self.text_hidden_size}."
            )

    @property
    def fused_size(self) -> int:
        """The length of the vector of the text."""
        return self.hidden_size


class ATAELSTMProcessor(MultimodalProcessor):
    """The processor of ATAE-LSTM: by default 320 tokens of text and 4 of the aspect, as in MIMN's paper."""

    default_max_length = 320


class ATAELSTMPreTrainedModel(TextAspectPreTrainedModel):
    config_class = ATAELSTMConfig
    base_model_prefix = "atae_lstm"


class StateAttention(nn.Module):
    """The attention of the paper, and the vector that it makes: `tanh(W_p r + W_x h_N)`, with `r = Σ α_i h_i`.

    The paper's score is `w·tanh([W_h h_i; W_v a])`. What it has of the aspect `a` is the same for each word, so that
    the softmax removes it: it is left out, and `score_i = w·tanh(W_h h_i)`. The states have read the aspect.
    """

    def __init__(self, size: int):
        super().__init__()
        self.state_proj = nn.Linear(size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)
        self.read_proj = nn.Linear(size, size, bias=False)
        self.last_proj = nn.Linear(size, size, bias=False)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read states (B, L, H) with mask (B, L) bool: return the vector (B, H) and the weights (B, L)."""
        scores = (torch.tanh(self.state_proj(states)) * self.score.weight[0]).sum(-1)
        weights = masked_softmax(scores, mask)
        read = attend(weights, states)
        return torch.tanh(self.read_proj(read) + self.last_proj(last_state(states, mask))), weights


class ATAELSTMModel(ATAELSTMPreTrainedModel):
    """The LSTM over [word; aspect] and the attention over its states, without classifier.

    The paper has a trained vector for each aspect. Here it is the mean of the aspect's tokens, as in the code.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: ATAELSTMConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_lstm = MaskedLSTM(2 * config.text_hidden_size, config.hidden_size, bidirectional=False)
        is_paper = config.reading == "paper"
        self.attention = StateAttention(config.hidden_size) if is_paper else ProjectedAttention(config.hidden_size)
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
    ) -> MultimodalOutput:
        """Read the text; `fused` is its vector (B, hidden_size). There is one attention.

        The vector of an absent aspect is zero. With `pad_to`, the weights of a post that has padding sum to less than
        one.
        """
        config = self.config
        v_aspect = mean_aspect(aspect, aspect_mask, self.aspect_padding, config.pad_aspect_to)  # (B, D)
        beside = v_aspect.unsqueeze(1).expand(-1, tokens.shape[1], -1)  # (B, L, D)
        states = self.text_lstm(torch.cat([tokens, beside], -1), text_mask)  # (B, L, H)
        guide = () if config.reading == "paper" else (v_aspect, config.pad_to)
        vector, weights = self.attention(states, text_mask, *guide)
        return MultimodalOutput(text_attentions=(weights,), fused=vector)


class ATAELSTMForSequenceClassification(MultimodalForSequenceClassification, ATAELSTMPreTrainedModel):
    """ATAE-LSTM with the paper's classifier, `softmax(W v + b)`, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = ATAELSTMModel
