"""Co-Memory+Aspect, a baseline of MIMN's paper: the co-memory network with both memories started by the aspect.

Nan Xu, Wenji Mao, Guandan Chen: Multi-Interactive Memory Network for Aspect Based Multimodal Sentiment Analysis. AAAI
2019. The paper names the baseline and gives no equations; this is the authors' code, github.com/xunan0812/MIMN, where
it is called MemNet2.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalConfig, MultimodalOutput
from .common_layers import MaskedLSTM, ProjectedAttention, masked_mean
from .mimn import MIMNPreTrainedModel, MIMNProcessor


@strict
class CoMemoryAspectConfig(MultimodalConfig):
    """Config of Co-Memory+Aspect; the fields of `MultimodalConfig` and these. Every vector has the text's width.

    Args:
        hops: updates of both vectors, at least 1.
        scoring: `"scalar"` as in the code, or `"additive"`, see `ProjectedAttention`.
        image_memory: `"images"`, as in the code: a slot of the image memory is an image, the mean of its regions; or
            `"regions"`: every region of every image.
        dropout: share of the two vectors dropped before the classifier (none in the code).
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


class CoMemoryAspectProcessor(MIMNProcessor):
    """The processor of Co-Memory+Aspect, which is MIMN's."""


class CoMemoryAspectPreTrainedModel(MIMNPreTrainedModel):
    config_class = CoMemoryAspectConfig
    base_model_prefix = "co_memory_aspect"


class CoMemoryAspectModel(CoMemoryAspectPreTrainedModel):
    """The two memories and their hops, without classifier.

    Each hop, `v_text = Lin(v_text) + Att(text memory, v_image)` and then `v_image = Lin(v_image) + Att(image memory,
    v_text)`: the second reads what the first has just written. One `Lin` and one `Att` serve both vectors and every
    hop; both vectors start as the mean of the aspect's tokens.
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

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        aspect_input_ids: torch.Tensor | None = None,
        aspect_attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **kwargs,
    ) -> MultimodalOutput:
        """See `MultimodalOutput`; `fused` is [v_text; v_image] (B, 2 · D_text).

        Attentions have `hops` tensors; with `image_memory="images"` the weight of an image is spread evenly over its
        R regions. An absent aspect is a zero vector.
        """
        text, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
        aspect, aspect_mask = self.encode_aspect(aspect_input_ids, aspect_attention_mask, text)  # (B, N, D), (B, N)
        regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D_i), (B, K)
        num_regions = regions.shape[2]
        if self.config.image_memory == "images":
            regions = regions.mean(2, keepdim=True)  # (B, K, 1, D_i)
        image_mask = image_mask.repeat_interleave(regions.shape[2], 1)  # (B, M); M is K images or K·R regions
        image = self.image_lstm(regions.flatten(1, 2), image_mask)  # (B, M, D)

        v_text = v_image = masked_mean(aspect, aspect_mask)  # (B, D)
        text_attentions, image_attentions = [], []
        for _ in range(self.config.hops):
            text_read, text_weights = self.attention(text, text_mask, v_image)
            v_text = self.update(v_text) + text_read
            image_read, image_weights = self.attention(image, image_mask, v_text)
            v_image = self.update(v_image) + image_read
            text_attentions.append(text_weights)
            if self.config.image_memory == "images":
                image_weights = image_weights.repeat_interleave(num_regions, 1) / num_regions
            image_attentions.append(image_weights)  # (B, K·R)
        return MultimodalOutput(
            text_attentions=tuple(text_attentions),
            image_attentions=tuple(image_attentions),
            fused=torch.cat([v_text, v_image], -1),
        )


class CoMemoryAspectForSequenceClassification(CoMemoryAspectPreTrainedModel):
    """Co-Memory+Aspect with the code's classifier, `softmax(W[v_text; v_image] + b)`, trained by cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: CoMemoryAspectConfig):
        super().__init__(config)
        self.co_memory_aspect = CoMemoryAspectModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.text_hidden_size, config.num_labels)
        self.post_init()

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> MultimodalOutput:
        """The inputs of `CoMemoryAspectModel.forward`, and labels (B,) for the loss; returns its output with `logits`
        (B, C)."""
        output = self.co_memory_aspect(**inputs)
        output.logits = self.classifier(self.dropout(output.fused))
        output.loss = self.classification_loss(output.logits, labels)
        return output
