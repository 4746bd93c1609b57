"""MDSE: features that text and image share, features private to each, and a contrastive loss across modalities.

Modality-Dependent Sentiments Exploring for Multi-Modal Sentiment Classification. ICASSP 2024; published code:
royal-dargon/MDSE. Where the code departs from the paper, `reading` says whose reading is followed.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .common_layers import masked_mean, masked_softmax
from .common_processing import MultimodalProcessor


@strict
class MDSEConfig(MultimodalConfig):
    """Config of MDSE; the fields of `MultimodalConfig` and these.

    The rows of the paper's ablation are settings of `ipfl`, `tpfl`, `adaptation` and the contrastive fields; its
    "Base-X", which the paper does not define, is `ipfl=False, tpfl=False, contrastive="none"`: encoders, shared
    features, cross-entropy.

    Args:
        hidden_size: width d of all features; encoders of another width are projected to it. The text encoder's width
            unless given (768 in the paper).
        num_attention_heads: of every block (8 in the paper, 16 in the code).
        ipfl: image private feature learning; without it the image's vector is made of the shared features alone (the
            paper does not define it).
        tpfl: the same for the text.
        adaptation: self-attention over the private features ("w/o ada": their plain mean).
        reading: `"paper"`: the shared features are the mean of both cross-attentions; each modality's private features
            have a block of their own; the classifier reads `f = FF([f_v; f_z])`. `"official"`: the shared features go
            through self-attention first; one block serves both modalities' private features (the code builds a second
            that it never calls); the classifier reads [f_v; f_z] through a hidden layer; the first token of a
            transformer's text takes no part. In both, padding is masked, which the code does not do: a post's scores
            would depend on its batch.
        importance: how much a token has in common with the other modality. `"paper"`: softmax over raw sums of dot
            products, which gives one token all the weight, see `modality_importance`; `"scaled"`: over their mean
            divided by √d.
        contrastive: `"supcon"`, Khosla et al.'s supervised contrastive loss; `"paper_ratio"`, the paper's formula with
            cosines moved from [-1, 1] to [0, 1], since it takes the logarithm of their sum; or `"none"`.
        contrastive_fused: the loss is over {f, f_v, f_z}, otherwise over {f_v, f_z}. The official reading has no f.
        contrastive_weight: of the contrastive loss beside cross-entropy (alpha, 1 in the code).
        temperature: of `"supcon"` (0.07 in the code).
        dropout: before the classifier's and the fusion's layers (0.2 in the code; in blocks it is 0.1).
    """

    model_type = "mdse"

    hidden_size: int | None = None
    num_attention_heads: int = 4
    ipfl: bool = True
    tpfl: bool = True
    adaptation: bool = True
    reading: Literal["paper", "official"] = "paper"
    importance: Literal["paper", "scaled"] = "scaled"
    contrastive: Literal["supcon", "paper_ratio", "none"] = "supcon"
    contrastive_fused: bool = True
    contrastive_weight: float = 1.0
    temperature: float = 0.07
    dropout: float = 0.2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.hidden_size is None:
            self.hidden_size = self.text_hidden_size
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is no multiple of num_attention_heads={self.num_attention_heads}."
            )
        if self.reading == "official" and self.contrastive != "none" and self.contrastive_fused:
            raise ValueError("The official reading has no vector f: set contrastive_fused=False.")


class MDSEProcessor(MultimodalProcessor):
    """The processor of MDSE: 128 tokens of text (the paper's length), one image unless told otherwise, no aspect."""

    default_max_length = 128


class Block(nn.Module):
    """Attention and a feed-forward layer of the same width, as in the published code: one normalisation serves query
    and memory, and the residual is the normalised query. 3,546,624 parameters at d = 768."""

    def __init__(self, config: MDSEConfig):
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm = nn.LayerNorm(size)
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.ff_norm = nn.LayerNorm(size)
        self.ff = nn.Sequential(
            nn.Linear(size, size), nn.GELU(), nn.Dropout(0.1), nn.Linear(size, size), nn.Dropout(0.1)
        )

    def forward(self, queries: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor) -> torch.Tensor:
        """queries (B, Q, d), memory (B, M, d), memory_mask (B, M) bool -> (B, Q, d)."""
        queries, memory = self.norm(queries), self.norm(memory)
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, Q or M, d / H)
            for layer, x in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        # An absent modality is attended to evenly (a softmax over nothing is NaN) and then contributes nothing.
        present = memory_mask.any(1)  # (B,)
        visible = memory_mask | ~present.unsqueeze(1)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])  # (B, H, Q, d / H)
        attended = attended.transpose(1, 2).flatten(2) * present[:, None, None]  # (B, Q, d)
        hidden = queries + self.out(attended)
        return hidden + self.ff(self.ff_norm(hidden))


def modality_importance(
    tokens: torch.Tensor, mask: torch.Tensor, cross: torch.Tensor, cross_mask: torch.Tensor, mode: str
) -> torch.Tensor:
    """How much each token of a modality has in common with the other: softmax over the tokens of `sum_j x_i · f_j`.

    With features of unit variance the sums of some 200 products of 768 numbers spread by hundreds, so the softmax
    gives one token everything (`mode="paper"`); `"scaled"` divides them by √d and the number of positions j.

    Args:
        tokens: (B, M, d) of the modality, with mask (B, M).
        cross: (B, N, d) the other modality's tokens after they have attended to this one, with cross_mask (B, N).

    Returns:
        (B, M) weights that sum to one, zero on padding.
    """
    summed = (cross * cross_mask.unsqueeze(-1)).sum(1)  # (B, d): the sum over j comes first, it is the same
    scores = torch.einsum("bmd,bd->bm", tokens, summed)  # (B, M)
    if mode == "scaled":
        scores = scores / (tokens.shape[-1] ** 0.5 * cross_mask.sum(1, keepdim=True).clamp(min=1))
    return masked_softmax(scores, mask)


def supervised_contrastive_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """For each vector, the mean over the others of its label of -log(exp(cos / τ) / Σ_others exp(cos / τ)); the mean
    over the vectors that have such others, 0 where none has.

    Args:
        features: (E, d). labels: (E,).
    """
    features = F.normalize(features.float(), dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (features @ features.T / temperature).masked_fill(itself, float("-inf"))  # (E, E)
    log_share = similarity.log_softmax(1).masked_fill(itself, 0)
    positive = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~itself
    count = positive.sum(1)
    loss = -(log_share * positive).sum(1) / count.clamp(min=1)
    return loss.sum() / (count > 0).sum().clamp(min=1)


def ratio_contrastive_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The paper's -log(Σ_same label C / Σ C) over all pairs of different vectors, with C = (1 + cos) / 2.

    Args:
        features: (E, d). labels: (E,).
    """
    features = F.normalize(features.float(), dim=-1)
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (1 + features @ features.T) / 2 * others  # (E, E)
    positive = labels.unsqueeze(0) == labels.unsqueeze(1)
    # A batch without two vectors of one label would have the logarithm of zero.
    floor = torch.finfo(similarity.dtype).eps
    return -torch.log(((similarity * positive).sum() / similarity.sum().clamp(min=floor)).clamp(min=floor))


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class MDSEPreTrainedModel(MultimodalPreTrainedModel):
    config_class = MDSEConfig
    base_model_prefix = "mdse"


class MDSEModel(MDSEPreTrainedModel):
    """Shared and private features of both modalities, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: MDSEConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.hidden_size
        self.text_proj = _project(config.text_hidden_size, size)
        self.image_proj = _project(config.image_hidden_size, size)
        self.image_to_text, self.text_to_image = Block(config), Block(config)
        official = config.reading == "official"
        self.shared_block = Block(config) if official else None
        private = [name for name, wanted in (("text", config.tpfl), ("image", config.ipfl)) if wanted]
        names = [] if not config.adaptation or not private else ["both"] if official else private
        self.private_blocks = nn.ModuleDict({name: Block(config) for name in names})
        self.text_out = _mlp(size * (1 + config.tpfl), size, size, config.dropout)
        self.image_out = _mlp(size * (1 + config.ipfl), size, size, config.dropout)
        self.fusion = None if official else _mlp(2 * size, size, size, config.dropout)
        self.post_init()

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
        """See `MultimodalOutput`; `fused` is f (B, d), or [f_v; f_z] (B, 2d) in the official reading.

        The attentions are the importances of the tokens (B, L) and of the regions (B, K·R), one tensor each; ()
        without private features of that modality.
        """
        vectors, text_attentions, image_attentions = self.encode(
            input_ids, attention_mask, pixel_values, image_mask, text_features, image_features
        )
        return MultimodalOutput(
            text_attentions=text_attentions, image_attentions=image_attentions, fused=vectors["fused"]
        )

    def encode(
        self, input_ids, attention_mask, pixel_values, image_mask, text_features, image_features
    ) -> tuple[dict[str, torch.Tensor], tuple, tuple]:
        """The vectors fused, image (f_v) and text (f_z), and the importances of tokens and regions."""
        z, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
        regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
        if self.config.reading == "official" and self.config.text_config.model_type != "word_vectors":
            text_mask = text_mask & (torch.arange(text_mask.shape[1], device=text_mask.device) > 0)
        v_mask = image_mask.unsqueeze(-1).expand(regions.shape[:3]).flatten(1)  # (B, K·R)
        z, v = self.text_proj(z), self.image_proj(regions.flatten(1, 2))  # (B, L, d), (B, K·R, d)

        text_sees_image = self.image_to_text(z, v, v_mask)  # (B, L, d): equation 1; its positions are the text's
        image_sees_text = self.text_to_image(v, z, text_mask)  # (B, K·R, d)
        both = torch.cat([text_sees_image, image_sees_text], 1)  # (B, L + K·R, d)
        both_mask = torch.cat([text_mask, v_mask], 1)
        if self.shared_block is not None:
            both = self.shared_block(both, both, both_mask)
        shared = masked_mean(both, both_mask)  # (B, d)

        text_parts, image_parts, text_attentions, image_attentions = [shared], [shared], (), ()
        if self.config.tpfl:
            weights = modality_importance(z, text_mask, image_sees_text, v_mask, self.config.importance)
            text_parts, text_attentions = [self._private("text", z, text_mask, weights), shared], (weights,)
        if self.config.ipfl:
            weights = modality_importance(v, v_mask, text_sees_image, text_mask, self.config.importance)
            image_parts, image_attentions = [shared, self._private("image", v, v_mask, weights)], (weights,)
        f_z, f_v = self.text_out(torch.cat(text_parts, -1)), self.image_out(torch.cat(image_parts, -1))  # (B, d)
        fused = torch.cat([f_v, f_z], -1)  # (B, 2d)
        if self.fusion is not None:
            fused = self.fusion(fused)  # (B, d)
        return {"fused": fused, "image": f_v, "text": f_z}, text_attentions, image_attentions

    def _private(self, modality: str, tokens: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """What a modality does not share with the other: tokens (B, M, d) and importances (B, M) -> (B, d)."""
        private = (1 - weights).to(tokens.dtype).unsqueeze(-1) * tokens  # (B, M, d)
        if self.config.adaptation:
            block = self.private_blocks["both" if self.config.reading == "official" else modality]
            private = block(private, private, mask)
        return masked_mean(private, mask)


def _project(inputs: int, size: int) -> nn.Module:
    return nn.Identity() if inputs == size else nn.Linear(inputs, size)


class MDSEForSequenceClassification(MDSEPreTrainedModel):
    """MDSE with its classifier, trained by cross-entropy and the contrastive loss."""

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: MDSEConfig):
        super().__init__(config)
        self.mdse = MDSEModel(config)
        size, classes = config.hidden_size, config.num_labels
        if config.reading == "official":
            self.classifier = _mlp(2 * size, size // 2, classes, config.dropout)
        else:
            self.classifier = nn.Linear(size, classes)
        self.post_init()

    def forward(
        self,
        labels: torch.Tensor | None = None,
        text_labels: torch.Tensor | None = None,
        image_labels: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **kwargs,
    ) -> MultimodalOutput:
        """The inputs of `MDSEModel.forward`; labels (B,) for the loss, and text_labels, image_labels (B,) for the
        contrastive loss, `labels` where they are not given. Returns its output with `logits` (B, C)."""
        vectors, text_attentions, image_attentions = self.mdse.encode(
            input_ids, attention_mask, pixel_values, image_mask, text_features, image_features
        )
        logits = self.classifier(vectors["fused"])
        loss = self.classification_loss(logits, labels)
        if labels is not None and self.config.contrastive != "none":
            of_modality = {"fused": labels, "image": image_labels, "text": text_labels}
            names = ["fused", "image", "text"] if self.config.contrastive_fused else ["image", "text"]
            features = torch.cat([vectors[name] for name in names])  # (E, d)
            classes = torch.cat([labels if of_modality[name] is None else of_modality[name] for name in names])  # (E,)
            if self.config.contrastive == "supcon":
                contrast = supervised_contrastive_loss(features, classes, self.config.temperature)
            else:
                contrast = ratio_contrastive_loss(features, classes)
            loss = loss + self.config.contrastive_weight * contrast
        return MultimodalOutput(
            loss=loss,
            logits=logits,
            text_attentions=text_attentions,
            image_attentions=image_attentions,
            fused=vectors["fused"],
        )
