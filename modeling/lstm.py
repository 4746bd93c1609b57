"""LSTM: an LSTM over the text alone, a baseline of MIMN's paper.

Xu, Mao, Chen: *Multi-Interactive Memory Network for Aspect Based Multimodal Sentiment Analysis*. AAAI 2019,
https://github.com/xunan0812/MIMN.

It reads neither the images nor the aspect. The authors' code calls it `LSTM`.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import MaskedLSTM, last_state, masked_mean
from .common_memory import PublishedInitConfig, PublishedInitPreTrainedModel
from .common_processing import MultimodalProcessor


@strict
class LSTMConfig(PublishedInitConfig):
    """Config of the LSTM: the fields of `PublishedInitConfig` and these.

    Args:
        reading: What the classifier reads. `"paper"`: the mean of the states. `"official"`: the last state, as in the
            authors' code.
        hidden_size: The number of units.
        dropout: The share of this vector that is dropped before the classifier (0.5 in the paper, which does not state
            the place; the code has no dropout).
    """

    model_type = "lstm"

    reading: Literal["paper", "official"] = "paper"
    hidden_size: int = 100
    dropout: float = 0.5

    @property
    def fused_size(self) -> int:
        """The length of the vector of the text."""
        return self.hidden_size


class LSTMProcessor(MultimodalProcessor):
    """The processor of the LSTM: by default 320 tokens of text, as in the paper."""

    default_max_length = 320


class LSTMPreTrainedModel(PublishedInitPreTrainedModel):
    config_class = LSTMConfig
    base_model_prefix = "lstm"
    input_modalities = ("text",)


class LSTMModel(LSTMPreTrainedModel):
    """The LSTM, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=False)
        self.post_init()

    def fuse(self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: None, image_mask: None) -> MultimodalOutput:
        """Read the text; `fused` is its vector (B, hidden_size), zero for an absent text."""
        states = self.text_lstm(tokens, text_mask)  # (B, L, H)
        read = masked_mean if self.config.reading == "paper" else last_state
        return MultimodalOutput(fused=read(states, text_mask))


class LSTMForSequenceClassification(MultimodalForSequenceClassification, LSTMPreTrainedModel):
    """The LSTM with a linear classifier, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = LSTMModel
