"""CoMN, the co-memory network: text and image memories that guide each other's attention over several hops.

Nan Xu, Wenji Mao, Guandan Chen: A Co-Memory Network for Multimodal Sentiment Analysis. SIGIR 2018. No code was
published; where the paper leaves a choice, the config has a switch.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .common_layers import GuidedAttention, attend, masked_softmax
from .common_processing import MultimodalProcessor


@strict
class CoMNConfig(MultimodalConfig):
    """Config of the co-memory network; the fields of `MultimodalConfig` and these.

    The rows of the paper's Table 2 are one setting each: MN-Hop1 is `hops=1`; MN-Hop2 is `hops=2, cross="none"`;
    MN-Hop2+text2img and MN-Hop2+img2text are `cross="text2image"` and `cross="image2text"`; CoMN-HopK is `hops=K`.

    Args:
        hops: passes over the memories, at least 1. The first is guided by learned vectors (equations 1 to 6).
        cross: whose vector guides from the second hop on. `"both"`: each memory is guided by the other modality's
            vector (CoMN). `"text2image"`: the text guides the image, itself being guided by its own vector;
            `"image2text"`: the other way round. `"none"`: each is guided by its own vector. The paper gives no
            equations for the last three; guiding by the own vector is the reading of this project.
        visual_memory: what a visual memory slot is. The paper's letter says both: `"regions"`, the feature vector of
            one cell of the map ("corresponds to a part of an image"), or `"channels"`, the map of one filter
            (L = 2048 slots of 25 numbers).
        scoring: `"scalar"` as in the paper's equations 10 and 13, or `"additive"`, see `GuidedAttention`.
        dropout: share of the two vectors dropped before the classifier (in the paper, rate and place are unstated).
    """

    model_type = "comn"

    hops: int = 2
    cross: Literal["both", "text2image", "image2text", "none"] = "both"
    visual_memory: Literal["regions", "channels"] = "regions"
    scoring: Literal["scalar", "additive"] = "additive"
    dropout: float = 0.1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.hops < 1:
            raise ValueError(f"hops={self.hops}: at least one hop is needed.")

    @property
    def visual_memory_size(self) -> int:
        """Length of a visual memory slot."""
        return self.image_regions if self.visual_memory == "channels" else self.image_hidden_size


class CoMNProcessor(MultimodalProcessor):
    """The processor of CoMN: 50 tokens of text (the paper's length), one image unless told otherwise, no aspect."""


class FirstHop(nn.Module):
    """Attention guided by a learned vector: `h_i = tanh(W m_i + b)`, weights `softmax(h_i·q)` (equations 1 to 6)."""

    def __init__(self, memory_size: int):
        super().__init__()
        self.memory_proj = nn.Linear(memory_size, memory_size)
        self.query = nn.Parameter(torch.empty(memory_size))

    def forward(self, memory: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """memory (B, M, D), mask (B, M) bool -> attended vector (B, D), weights (B, M)."""
        weights = masked_softmax(torch.tanh(self.memory_proj(memory)) @ self.query, mask)
        return attend(weights, memory), weights


class CoMNPreTrainedModel(MultimodalPreTrainedModel):
    config_class = CoMNConfig
    base_model_prefix = "comn"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FirstHop):
            init.normal_(module.query, std=module.query.numel() ** -0.5)
        else:
            super()._init_weights(module)


class CoMNModel(CoMNPreTrainedModel):
    """The two memories and their hops, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: CoMNConfig):
        super().__init__(config)
        self.add_encoders(config)
        text_size, image_size = config.text_hidden_size, config.visual_memory_size
        self.text_guides_image = config.cross in ("both", "text2image")
        self.image_guides_text = config.cross in ("both", "image2text")
        self.text_hops = self._hops(text_size, image_size, self.image_guides_text, self.text_guides_image)
        self.image_hops = self._hops(image_size, text_size, self.text_guides_image, self.image_guides_text)
        self.post_init()

    def _hops(self, size: int, other_size: int, is_guided: bool, guides: bool) -> nn.ModuleList:
        """The hops of one tower, the last of them last.

        The earlier hops of a tower that is guided by the other and guides nobody would be read by nobody: it has but
        one hop, so that every weight of the model is trained.
        """
        hops, scoring = self.config.hops, self.config.scoring
        later = [GuidedAttention(size, other_size if is_guided else size, scoring) for _ in range(hops - 1)]
        if later and is_guided and not guides:
            return nn.ModuleList(later[-1:])
        return nn.ModuleList([FirstHop(size), *later])

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **kwargs,
    ) -> MultimodalOutput:
        """See `MultimodalOutput`; `fused` is [v_text; v_image] (B, D_text + D_image).

        Each tuple of attentions has `hops` tensors, or one where the modality is guided by the other and guides nobody
        (its earlier hops do not exist). With `visual_memory="channels"` they are (B, K·D_image), a filter a slot.
        """
        text_memory, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
        regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
        if self.config.visual_memory == "channels":
            regions = regions.transpose(2, 3)  # (B, K, D, R): a slot is one filter's map
        slot_mask = image_mask.unsqueeze(-1).expand(regions.shape[:3]).flatten(1)  # (B, K·R)
        image_memory = regions.flatten(1, 2)  # (B, K·R, D)

        v_text = v_image = None
        text_attentions, image_attentions = [], []
        for hop in range(self.config.hops):
            text_guide = v_image if self.image_guides_text else v_text
            image_guide = v_text if self.text_guides_image else v_image
            # Both towers read the vectors of the hop before, whichever is computed first (equations 7 to 14).
            v_text = self._hop(self.text_hops, hop, text_memory, text_mask, text_guide, text_attentions)
            v_image = self._hop(self.image_hops, hop, image_memory, slot_mask, image_guide, image_attentions)
        return MultimodalOutput(
            text_attentions=tuple(text_attentions),
            image_attentions=tuple(image_attentions),
            fused=torch.cat([v_text, v_image], -1),
        )

    def _hop(
        self,
        hops: nn.ModuleList,
        hop: int,
        memory: torch.Tensor,
        mask: torch.Tensor,
        guide: torch.Tensor | None,
        attentions: list[torch.Tensor],
    ) -> torch.Tensor | None:
        index = hop - (self.config.hops - len(hops))
        if index < 0:
            return None
        module = hops[index]
        vector, weights = module(memory, mask) if hop == 0 else module(memory, mask, guide)
        attentions.append(weights)
        return vector


class CoMNForSequenceClassification(CoMNPreTrainedModel):
    """CoMN with the paper's classifier, `softmax(W[v_text; v_image])` (equation 15), trained by cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: CoMNConfig):
        super().__init__(config)
        self.comn = CoMNModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.text_hidden_size + config.visual_memory_size, config.num_labels)
        self.post_init()

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> MultimodalOutput:
        """The inputs of `CoMNModel.forward`, and labels (B,) for the loss; returns its output with `logits` (B, C)."""
        output = self.comn(**inputs)
        output.logits = self.classifier(self.dropout(output.fused))
        output.loss = self.classification_loss(output.logits, labels)
        return output
