"""MIMN, the multi-interactive memory network: aspect, text and image memories, each guided by itself and the other.

Nan Xu, Wenji Mao, Guandan Chen: Multi-Interactive Memory Network for Aspect Based Multimodal Sentiment Analysis. AAAI
2019. The authors' code, github.com/xunan0812/MIMN, is another network than the paper's: the config has both.
"""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.utils import logging

from .common_base import MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .common_layers import GuidedAttention, GuidedProjection, MaskedLSTM, ProjectedAttention, masked_mean
from .common_processing import MultimodalProcessor

logger = logging.get_logger(__name__)


@strict
class MIMNConfig(MultimodalConfig):
    """Config of the multi-interactive memory network; the fields of `MultimodalConfig` and these.

    The rows of the paper's tables are `hops=1` to `5`, and with `hops=3` the four values of `interaction`.

    Args:
        hops: passes over the memories, at least 1.
        interaction: whose vector guides the attention of a hop besides the memory's own. `"both"`: the other
            modality's, in both memories. `"text2image"`: the text's guides the image memory too, the text memory
            is guided by its own alone; `"image2text"`: the other way round. `"self"`: each by its own alone.
        reading: `"paper"`: the first hop is guided by the aspect, and from the second on a GRU combines what was
            attended with the vector of the hop before. Every hop has attentions of its own (the paper does not say;
            so has CoMN, by the same authors). `"official"`, what the authors' code does: both vectors start as the
            aspect's, and every hop, the first included, is interactive and ends in the GRU; the hops share their
            attentions, which are `ProjectedAttention`s. In both, each modality has one GRU cell, whose steps are the
            hops. The code attends to padding, too, so that a post's scores depend on its batch: not followed here.
        scoring: `"scalar"` as in the paper, or `"additive"`, see `GuidedAttention`; of the reading `"paper"` only.
        image_memory: what a slot of the image memory is. `"images"`, as in the paper: an image, the mean of its
            regions. `"regions"`: every region of every image, read by the BiLSTM one after the other. With one image
            a post, only regions leave the image attention anything to choose.
        hidden_size: units of each BiLSTM in one direction; memories and vectors are twice as wide.
        dropout: share of the two vectors dropped before the classifier (0.5 in the paper, which does not say where;
            there is none in the code).
    """

    model_type = "mimn"

    hops: int = 3
    interaction: Literal["both", "text2image", "image2text", "self"] = "both"
    reading: Literal["paper", "official"] = "paper"
    scoring: Literal["scalar", "additive"] = "additive"
    image_memory: Literal["images", "regions"] = "regions"
    hidden_size: int = 100
    dropout: float = 0.5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.hops < 1:
            raise ValueError(f"hops={self.hops}: at least one hop is needed.")


class MIMNProcessor(MultimodalProcessor):
    """The processor of MIMN: 320 tokens of text, 4 of the aspect and 5 images, as in the paper."""

    default_max_length = 320
    default_max_images = 5


class Interaction(nn.Module):
    """A memory attended to under the guidance of its own vector and, unless `cross` is None, of the other modality's:
    the mean of the two results."""

    def __init__(self, own: nn.Module, cross: nn.Module | None):
        super().__init__()
        self.own = own
        self.cross = cross

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, own_guide: torch.Tensor, other_guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory (B, M, D), mask (B, M) bool, guides (B, D) -> attended vector (B, D), weights (B, M)."""
        vector, weights = self.own(memory, mask, own_guide)
        if self.cross is None:
            return vector, weights
        other_vector, other_weights = self.cross(memory, mask, other_guide)
        return (vector + other_vector) / 2, (weights + other_weights) / 2


class MIMNPreTrainedModel(MultimodalPreTrainedModel):
    config_class = MIMNConfig
    base_model_prefix = "mimn"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Memories, what is attended to and their combination are all squashed, and at the usual scales so small that
        # no guide moves an attention: of the sample posts that text and image decide together, 33 % are right after
        # 30 epochs, and 100 % after 12 from these scales. It takes all of them.
        if isinstance(module, nn.LSTM):
            size = module.hidden_size
            init.normal_(module.weight_ih_l0, std=3 * module.input_size**-0.5)
            init.normal_(module.weight_hh_l0, std=size**-0.5)
            init.copy_(module.bias_ih_l0, torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat_interleave(size))  # output gate
            init.zeros_(module.bias_hh_l0)
        elif isinstance(module, nn.GRUCell):
            size = module.hidden_size
            init.normal_(module.weight_ih, std=2 * module.input_size**-0.5)
            init.normal_(module.weight_hh, std=size**-0.5)
            init.copy_(module.bias_ih, torch.tensor([0.0, -1.0, 0.0]).repeat_interleave(size))  # rather new than old
            init.zeros_(module.bias_hh)
        elif isinstance(module, GuidedProjection):
            init.normal_(module.weight, std=3 * module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def encode_aspect(
        self, aspect_input_ids: torch.Tensor | None, aspect_attention_mask: torch.Tensor | None, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, N, D) of the aspects and their mask (B, N) bool; an aspect that is absent has no True position.

        Warns, once, of a batch in which every aspect is absent.

        Args:
            text: the texts' tokens (B, L, D), whose type and size the tokens of absent aspects take.
        """
        if aspect_input_ids is None:
            tokens, mask = torch.zeros_like(text[:, :1]), torch.zeros_like(text[:, :1, 0], dtype=torch.bool)
        else:
            tokens, mask = self.encode_text(aspect_input_ids, aspect_attention_mask, None)
        # A graph cannot ask whether a tensor holds a True.
        if not torch.compiler.is_compiling() and not mask.any():
            logger.warning_once(
                "A whole batch has no aspect, which this model is guided by: a zero vector takes its place."
            )
        return tokens, mask


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
        interactions = config.hops - 1 if config.reading == "paper" else 1  # the official hops share theirs
        self.text_hops = self._interactions(interactions, size, config.interaction in ("both", "image2text"))
        self.image_hops = self._interactions(interactions, size, config.interaction in ("both", "text2image"))
        if interactions:  # a weight that nobody reads would never be trained
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
        """See `MultimodalOutput`; `fused` is [v_text; v_image] (B, 4 · hidden_size).

        Attentions have `hops` tensors. Where a memory is guided twice, they are the mean of the two. With
        `image_memory="images"` the weight of an image is spread evenly over its R regions.

        An absent aspect is a zero vector, and a zero vector is what is attended to in an absent text or image.
        """
        tokens, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
        aspect, aspect_mask = self.encode_aspect(aspect_input_ids, aspect_attention_mask, tokens)  # (B, N, D), (B, N)
        regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
        num_regions = regions.shape[2]
        if self.config.image_memory == "images":
            regions = regions.mean(2, keepdim=True)  # (B, K, 1, D)
        slots = regions.flatten(1, 2)  # (B, M, D); M is K images or K·R regions
        slot_mask = image_mask.repeat_interleave(regions.shape[2], 1)  # (B, M)

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
                # Both memories are guided by the vectors of the hop before, whichever is computed first.
                text_read, text_weights = self.text_hops[index](*text, v_text, v_image)
                image_read, image_weights = self.image_hops[index](*image, v_image, v_text)
                v_text, v_image = self.text_gru(text_read, v_text), self.image_gru(image_read, v_image)
            text_attentions.append(text_weights)
            if self.config.image_memory == "images":
                image_weights = image_weights.repeat_interleave(num_regions, 1) / num_regions  # (B, K·R)
            image_attentions.append(image_weights)
        return MultimodalOutput(
            text_attentions=tuple(text_attentions),
            image_attentions=tuple(image_attentions),
            fused=torch.cat([v_text, v_image], -1),
        )


class MIMNForSequenceClassification(MIMNPreTrainedModel):
    """MIMN with the paper's classifier, `softmax(W[v_text; v_image] + b)`, trained by cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: MIMNConfig):
        super().__init__(config)
        self.mimn = MIMNModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(4 * config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> MultimodalOutput:
        """The inputs of `MIMNModel.forward`, and labels (B,) for the loss; returns its output with `logits` (B, C)."""
        output = self.mimn(**inputs)
        output.logits = self.classifier(self.dropout(output.fused))
        output.loss = self.classification_loss(output.logits, labels)
        return output
