"""IAN: an LSTM for the text and one for the aspect, each read under the guidance of the other's mean.

Ma, Li, Zhang, Wang: *Interactive Attention Networks for Aspect-Level Sentiment Classification*. IJCAI 2017,
https://arxiv.org/abs/1709.00893.

It is a baseline of MIMN's paper, whose code, github.com/xunan0812/MIMN, calls it `IAN`.
"""

import torch
from huggingface_hub.dataclasses import strict

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import BilinearAttention, MaskedLSTM, ProjectedAttention, masked_mean
from .common_memory import TextAspectConfig, TextAspectPreTrainedModel
from .common_processing import MultimodalProcessor


@strict
class IANConfig(TextAspectConfig):
    """Config of IAN: the fields of `TextAspectConfig` and these.

    Args:
        hidden_size: The number of units of each LSTM.
        dropout: The share of the two vectors that is dropped before the classifier (none in the code; 0.5 in MIMN's
            paper).
    """

    model_type = "ian"

    hidden_size: int = 100
    dropout: float = 0.0

    @property
    def fused_size(self) -> int:
        """The length of [v_aspect; v_text]."""
        return 2 * self.hidden_size


class IANProcessor(MultimodalProcessor):
    """The processor of IAN: by default 320 tokens of text and 4 of the aspect, as in MIMN's paper."""

    default_max_length = 320


class IANPreTrainedModel(TextAspectPreTrainedModel):
    config_class = IANConfig
    base_model_prefix = "ian"


class IANModel(IANPreTrainedModel):
    """The two LSTMs and the attention to their states, without classifier.

    The paper defines one score `γ(h, v) = tanh(h W v + b)` for both attentions, so that they share its weights. Those
    of the code have their own, without `tanh`.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: IANConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.hidden_size
        self.text_lstm = MaskedLSTM(config.text_hidden_size, size, bidirectional=False)
        self.aspect_lstm = MaskedLSTM(config.text_hidden_size, size, bidirectional=False)
        if config.reading == "paper":
            self.attention = BilinearAttention(size)
        else:
            self.text_attention = ProjectedAttention(size, "bilinear")
            self.aspect_attention = ProjectedAttention(size, "bilinear")
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
        """Read text and aspect; `fused` is [v_aspect; v_text] (B, 2 · hidden_size). There is one text attention.

        What is read of an absent text or aspect is zero. With `pad_to`, the weights of a post that has padding sum to
        less than one.
        """
        text = self.text_lstm(tokens, text_mask), text_mask  # states (B, L, H), mask
        of_aspect = self.aspect_lstm(aspect, aspect_mask), aspect_mask  # states (B, N, H), mask
        text_mean, aspect_mean = masked_mean(*text), masked_mean(*of_aspect)
        if self.config.reading == "paper":
            v_aspect, _ = self.attention(*of_aspect, text_mean)
            v_text, weights = self.attention(*text, aspect_mean)
        else:
            v_aspect, _ = self.aspect_attention(*of_aspect, text_mean, self.config.aspect_length)
            v_text, weights = self.text_attention(*text, aspect_mean, self.config.pad_to)
        return MultimodalOutput(text_attentions=(weights,), fused=torch.cat([v_aspect, v_text], -1))


class IANForSequenceClassification(MultimodalForSequenceClassification, IANPreTrainedModel):
    """IAN with the paper's classifier, `softmax(tanh(W[v_aspect; v_text] + b))`, trained with cross-entropy. The code
    has no `tanh`."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = IANModel

    def classify(self, output: MultimodalOutput) -> None:
        super().classify(output)
        if self.config.reading == "paper":
            output.logits = torch.tanh(output.logits)
