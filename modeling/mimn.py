"""MIMN: memories of text and of several images, read under the guidance of an aspect and of each other.

Xu, Mao, Chen: *Multi-Interactive Memory Network for Aspect Based Multimodal Sentiment Analysis*. AAAI 2019,
https://github.com/xunan0812/MIMN.

The network in the authors' code, github.com/xunan0812/MIMN, is not the one in the paper. The config has both.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput
from .common_heads import MultimodalForSequenceClassification
from .common_layers import GuidedAttention, MaskedLSTM, ProjectedAttention, masked_mean
from .common_memory import AspectMemoryConfig, AspectMemoryPreTrainedModel, image_slots, region_weights
from .common_processing import MultimodalProcessor


@strict
class MIMNConfig(AspectMemoryConfig):
    """Config of the multi-interactive memory network: the fields of `AspectMemoryConfig` and these.

    The rows of the paper's tables are `hops=1` to `5`, and with `hops=3` the four values of `interaction`.

    Args:
        interaction: Whose vector guides the attention to a memory besides the memory's own. `"both"`: the vector of
            the other modality, in both memories. `"text2image"`: the text's vector also guides the image memory, and
            only its own vector guides the text memory. `"image2text"`: the reverse. `"self"`: each memory is guided
            by its own vector only.
        reading: `"paper"`: the aspect guides the first hop, and from the second hop on a GRU combines what was read
            with the vector of the previous hop. Every hop has its own attentions (the paper does not say; CoMN, by
            the same authors, has them too). `"official"`, as in the authors' code: both vectors start as the aspect's
            vector, every hop including the first is interactive and ends in the GRU, and the hops share their
            attentions, of the class `ProjectedAttention`. In both readings each modality has one GRU cell, whose steps
            are the hops. The code also attends to padding, see `pad_to`, which only this reading has: the paper does
            not say what becomes of padding.
        scoring: `"scalar"` as in the paper, or `"additive"`, see `GuidedAttention`; only for the reading `"paper"`.
        image_memory: What a slot of the image memory is. `"images"`, as in the paper: an image, as the mean of its
            regions. `"regions"`: a region of any image, read by the BiLSTM one after the other. If the posts have one
            image, the image attention has a choice only among regions.
        hidden_size: The number of units of each BiLSTM in one direction. Memories and vectors are twice as wide.
        dropout: The share of the two vectors that is dropped before the classifier (0.5 in the paper, which does not
            state the place; the code has no dropout).
    """

    model_type = "mimn"

    interaction: Literal["both", "text2image", "image2text", "self"] = "both"
    reading: Literal["paper", "official"] = "paper"
    scoring: Literal["scalar", "additive"] = "additive"
    image_memory: Literal["images", "regions"] = "regions"
    hidden_size: int = 100
    dropout: float = 0.5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.pad_to is not None and self.reading != "official":
            raise ValueError(f"pad_to={self.pad_to} needs reading='official': the paper does not read padding.")

    @property
    def fused_size(self) -> int:
        """The length of [v_text; v_image]."""
        return 4 * self.hidden_size


class MIMNProcessor(MultimodalProcessor):
    """The processor of MIMN: by default 320 tokens of text, 4 of the aspect, and 5 images, as in the paper."""

    default_max_length = 320
    default_max_images = 5


class Interaction(nn.Module):
    """Attention to a memory, guided by its own vector and, unless `cross` is None, also by the vector of the other
    modality. The result is the mean of both."""

    def __init__(self, own: nn.Module, cross: nn.Module | None):
        super().__init__()
        self.own = own
        self.cross = cross

    def forward(
        self,
        memory: torch.Tensor,
        mask: torch.Tensor,
        own_guide: torch.Tensor,
        other_guide: torch.Tensor,
        length: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool and guides (B, D): return vector (B, D) and weights (B, M).

        Only a `ProjectedAttention` takes the `length` to which the memory is padded.
        """
        padding = () if length is None else (length,)
        vector, weights = self.own(memory, mask, own_guide, *padding)
        if self.cross is None:
            return vector, weights
        other_vector, other_weights = self.cross(memory, mask, other_guide, *padding)
        return (vector + other_vector) / 2, (weights + other_weights) / 2


class MIMNPreTrainedModel(AspectMemoryPreTrainedModel):
    config_class = MIMNConfig
    base_model_prefix = "mimn"


class MIMNModel(MIMNPreTrainedModel):
    """The three memories and the hops over two of them, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: MIMNConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = 2 * config.hidden_size
        self.aspect_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=True)
        self.text_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=True)
        self.image_lstm = MaskedLSTM(config.image_hidden_size, config.hidden_size, bidirectional=True)

        if config.reading == "paper":
            self.text_first = GuidedAttention(size, size, config.scoring)
            self.image_first = GuidedAttention(size, size, config.scoring)
        interactions = config.hops - 1 if config.reading == "paper" else 1  # the hops of the code share one
        self.text_hops = self._interactions(interactions, size, config.interaction in ("both", "image2text"))
        self.image_hops = self._interactions(interactions, size, config.interaction in ("both", "text2image"))
        if interactions:  # otherwise nothing would read the cells, and they would never be trained
            self.text_gru, self.image_gru = nn.GRUCell(size, size), nn.GRUCell(size, size)
        self.post_init()

    def _interactions(self, count: int, size: int, is_guided_by_other: bool) -> nn.ModuleList:
        def attention() -> nn.Module:
            if self.config.reading == "official":
                return ProjectedAttention(size)
            return GuidedAttention(size, size, self.config.scoring)

        return nn.ModuleList(
            Interaction(attention(), attention() if is_guided_by_other else None) for _ in range(count)
        )

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        aspect: torch.Tensor,
        aspect_mask: torch.Tensor,
    ) -> MultimodalOutput:
        """Read the memories hop by hop; `fused` is [v_text; v_image] (B, 4 · hidden_size).

        Each tuple of attentions has `hops` tensors. If a memory is guided twice, they are the mean of both. The vector
        of an absent aspect is zero, and reading an absent text or image gives zero. With `pad_to`, the weights of a
        post that has padding sum to less than one.
        """
        slots, slot_mask = image_slots(regions, image_mask, self.config.image_memory)  # (B, M, D_i), (B, M)
        v_aspect = masked_mean(self.aspect_lstm(aspect, aspect_mask), aspect_mask)  # (B, 2H)
        text = self.text_lstm(tokens, text_mask), text_mask  # memory (B, L, 2H), mask
        image = self.image_lstm(slots, slot_mask), slot_mask  # memory (B, M, 2H), mask

        is_paper = self.config.reading == "paper"
        v_text = v_image = v_aspect
        text_attentions, image_attentions = [], []
        for hop in range(self.config.hops):
            if is_paper and hop == 0:
                v_text, text_weights = self.text_first(*text, v_aspect)
                v_image, image_weights = self.image_first(*image, v_aspect)
            else:
                index = hop - 1 if is_paper else 0
                # The vectors of the previous hop guide both memories.
                text_read, text_weights = self.text_hops[index](*text, v_text, v_image, self.config.pad_to)
                image_read, image_weights = self.image_hops[index](*image, v_image, v_text, self.config.image_slots)
                v_text, v_image = self.text_gru(text_read, v_text), self.image_gru(image_read, v_image)
            text_attentions.append(text_weights)
            image_attentions.append(region_weights(image_weights, regions.shape[2], self.config.image_memory))
        return MultimodalOutput(
            text_attentions=tuple(text_attentions),
            image_attentions=tuple(image_attentions),
            fused=torch.cat([v_text, v_image], -1),
        )


class MIMNForSequenceClassification(MultimodalForSequenceClassification, MIMNPreTrainedModel):
    """MIMN with the paper's classifier, `softmax(W[v_text; v_image] + b)`, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = MIMNModel
