"""CoMN: text and image memories that guide each other's attention over several hops.

Xu, Mao, Chen: *A Co-Memory Network for Multimodal Sentiment Analysis*. SIGIR 2018.

No code was published. Where the paper leaves a choice, the config has a switch.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import ContextAttention, GuidedAttention, flatten_regions
from .common_processing import MultimodalProcessor


@strict
class CoMNConfig(MultimodalConfig):
    """Config of the co-memory network: the fields of `MultimodalConfig` and these.

    Each row of the paper's Table 1 is one setting. MN-Hop1 is `hops=1`; MN-Hop2 is `hops=2, cross="none"`;
    MN-Hop2+text2img and MN-Hop2+img2text are `cross="text2image"` and `cross="image2text"`; CoMN-HopK is `hops=K`.

    Args:
        hops: The number of passes over the memories, at least 1. Learned vectors guide the first (equations 1 to 8).
        cross: Whose vector guides the attention from the second hop on. `"both"`: the vector of the other modality
            guides each memory (CoMN). `"text2image"`: the text guides the image, and its own vector guides the text.
            `"image2text"`: the reverse. `"none"`: each is guided by its own vector. The paper gives no equations for
            the last three; that a memory is guided by its own vector is the reading of this project.
        visual_memory: What a slot of the visual memory is. The paper's text supports both: `"regions"`, the feature
            vector of one cell of the map ("corresponds to a part of an image"), or `"channels"`, the map of one filter
            (L = 2048 slots of 25 numbers).
        scoring: `"scalar"` as in the paper's equations 10 and 13, or `"additive"`, see `GuidedAttention`.
        dropout: The share of the two vectors that is dropped before the classifier. The paper does not state the rate
            or the place.
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
        """The length of a slot of the visual memory."""
        return self.image_regions if self.visual_memory == "channels" else self.image_hidden_size

    @property
    def fused_size(self) -> int:
        """The length of [v_text; v_image]."""
        return self.text_hidden_size + self.visual_memory_size


class CoMNProcessor(MultimodalProcessor):
    """The processor of CoMN: by default 50 tokens of text (the paper's length) and one image."""


class CoMNPreTrainedModel(MultimodalPreTrainedModel):
    config_class = CoMNConfig
    base_model_prefix = "comn"


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
        """Make the hops of one modality, in order.

        If the other modality guides this one, but not the reverse, nothing reads the earlier hops of this modality.
        Then it has only the last hop, so that every weight of the model is trained.
        """
        hops, scoring = self.config.hops, self.config.scoring
        later = [GuidedAttention(size, other_size if is_guided else size, scoring) for _ in range(hops - 1)]
        if later and is_guided and not guides:
            return nn.ModuleList(later[-1:])
        return nn.ModuleList([ContextAttention(size), *later])

    def fuse(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> MultimodalOutput:
        """Let the memories guide each other; `fused` is [v_text; v_image] (B, D_text + D_image).

        Each tuple of attentions has `hops` tensors, or one if the modality has only its last hop. With
        `visual_memory="channels"` the image attentions are (B, K·D_image), one weight per filter.
        """
        if self.config.visual_memory == "channels":
            regions = regions.transpose(2, 3)  # (B, K, D, R): a slot is the map of one filter
        image_memory, slot_mask = flatten_regions(regions, image_mask)  # (B, K·R, D), (B, K·R)

        v_text = v_image = None
        text_attentions, image_attentions = [], []
        for hop in range(self.config.hops):
            text_guide = v_image if self.image_guides_text else v_text
            image_guide = v_text if self.text_guides_image else v_image
            # Both modalities read the vectors of the previous hop (equations 9 to 16).
            v_text = self._hop(self.text_hops, hop, tokens, text_mask, text_guide, text_attentions)
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
        """Return the vector (B, D) after a hop and append its weights, or return None if this hop does not exist."""
        index = hop - (self.config.hops - len(hops))
        if index < 0:
            return None
        module = hops[index]
        vector, weights = module(memory, mask) if hop == 0 else module(memory, mask, guide)
        attentions.append(weights)
        return vector


class CoMNForSequenceClassification(MultimodalForSequenceClassification, CoMNPreTrainedModel):
    """CoMN with the paper's classifier, `softmax(W[v_text; v_image])` (equation 17), trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = CoMNModel
