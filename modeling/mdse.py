"""MDSE: features that text and image share, features private to each, and a contrastive loss across modalities.

Li et al.: *Modality-Dependent Sentiments Exploring for Multi-Modal Sentiment Classification*. ICASSP 2024,
https://github.com/royal-dargon/MDSE.

Where the published code departs from the paper, `reading` selects one of the two.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean, masked_softmax
from .common_losses import ratio_contrastive_loss, supervised_contrastive_loss
from .common_processing import MultimodalProcessor


@strict
class MDSEConfig(MultimodalConfig):
    """Config of MDSE: the fields of `MultimodalConfig` and these.

    The rows of the paper's ablation are settings of `ipfl`, `tpfl`, `adaptation` and the contrastive fields. The paper
    does not define its "Base-X". Here it is `ipfl=False, tpfl=False, contrastive="none"`: encoders, shared features
    and cross-entropy.

    Args:
        hidden_size: The width d of all features. Encoders of another width are projected to it. The default is the
            width of the text encoder (768 in the paper).
        num_attention_heads: The number of heads of every block (8 in the paper, 16 in the code).
        ipfl: Image private feature learning. Without it the vector of the image is made of the shared features only
            (the paper does not define this).
        tpfl: Text private feature learning, likewise.
        adaptation: Self-attention over the private features; without it ("w/o ada") they are averaged directly.
        reading: `"paper"`: the shared features are the mean of both cross-attentions, the private features of each
            modality have their own block, and the classifier reads `f = FF([f_v; f_z])`. `"official"`: the shared
            features first go through self-attention, one block serves the private features of both modalities (the
            code builds a second one but never calls it), the classifier reads [f_v; f_z] through a hidden layer, and
            the first token of a transformer's text is not used. In both readings padding is masked; in the code it is
            not, so that the scores of a post depend on its batch. The official reading with `pad_to` follows the code
            in this too.
        pad_to: The number of tokens to which every text is padded with token 0 (200 in the code's options), only in
            the reading `"official"`. Then everything is as in the published code: nothing after the text encoder masks
            padding; the cross-attentions and the shared features also read the first token of the text and the class
            token of the image (197 tokens of a ViT at 224 pixels), which the importances and the private features
            leave out; what a block attends to is dropped at a rate of 0.1; all vectors of the contrastive loss have
            the label of the post; and a text encoder that rests (`text_from_epoch` of train.py) keeps its dropout.
        importance: How much a token has in common with the other modality. `"paper"`: softmax over sums of dot
            products, which gives one token all the weight, see `modality_importance`. `"scaled"`: softmax over their
            mean divided by √d.
        head: The classifier of the reading `"paper"`: `"linear"`, one linear layer, or `"mlp"`, the perceptron of the
            paper's equation 9, whose hidden layer is here that of the published code (half as wide as f, with GELU).
            The reading `"official"` always has a hidden layer.
        contrastive: `"supcon"`, the supervised contrastive loss of Khosla et al.; `"paper_ratio"`, the formula of the
            paper with cosines moved from [-1, 1] to [0, 1], because it takes the logarithm of their sum; or `"none"`.
        contrastive_fused: Whether the contrastive loss is over {f, f_v, f_z} instead of {f_v, f_z}. The official
            reading does not have f.
        contrastive_weight: The weight of the contrastive loss beside cross-entropy (alpha, 1 in the code).
        temperature: The temperature of `"supcon"` (0.07 in the code).
        dropout: The share dropped before the layers of the classifier and of the fusion (0.2 in the code). In the
            blocks it is 0.1.
    """

    model_type = "mdse"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *MultimodalConfig.keys_to_ignore_at_inference,
        "text_vector",
        "image_vector",
    ]

    hidden_size: int | None = None
    num_attention_heads: int = 4
    ipfl: bool = True
    tpfl: bool = True
    adaptation: bool = True
    reading: Literal["paper", "official"] = "paper"
    pad_to: int | None = None
    head: Literal["linear", "mlp"] = "linear"
    importance: Literal["paper", "scaled"] = "scaled"
    contrastive: Literal["supcon", "paper_ratio", "none"] = "supcon"
    contrastive_fused: bool = True
    contrastive_weight: float = 1.0
    temperature: float = 0.07
    dropout: float = 0.2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.temperature == 0:
            raise ValueError("temperature=0.0: give a positive number.")
        if self.hidden_size is None:
            self.hidden_size = self.text_hidden_size
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}."
            )
        if self.reading == "official" and self.contrastive != "none" and self.contrastive_fused:
            raise ValueError("The official reading does not have a vector f: set contrastive_fused=False.")
        if self.pad_to is not None and self.reading != "official":
            raise ValueError(f"pad_to={self.pad_to} needs reading='official': the paper does not read padding.")


class MDSEProcessor(MultimodalProcessor):
    """The processor of MDSE: by default 128 tokens of text (the paper's length) and one image."""

    default_max_length = 128


@dataclass
class MDSEOutput(MultimodalOutput):
    """The fields of `MultimodalOutput` and these.

    Args:
        text_vector: (B, d) The vector f_z of the text, which the contrastive loss reads.
        image_vector: (B, d) The vector f_v of the images, likewise.
    """

    text_vector: torch.Tensor | None = None
    image_vector: torch.Tensor | None = None


class Block(nn.Module):
    """Attention and a feed-forward layer of the same width, as in the published code: queries and memory share one
    normalisation, and the residual is the normalised query. It has 3,546,624 parameters at d = 768."""

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
        self.dropout = nn.Identity() if config.pad_to is None else nn.Dropout(0.1)

    def forward(self, queries: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor) -> torch.Tensor:
        """Let queries (B, Q, d) read memory (B, M, d) with memory_mask (B, M) bool: return (B, Q, d)."""
        queries, memory = self.norm(queries), self.norm(memory)
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, Q or M, d / H)
            for layer, x in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        # The attention to an absent modality is even, because a softmax over nothing is NaN. Its result is zeroed.
        present = memory_mask.any(1)  # (B,)
        visible = memory_mask | ~present.unsqueeze(1)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])  # (B, H, Q, d / H)
        attended = attended.transpose(1, 2).flatten(2) * present[:, None, None]  # (B, Q, d)
        hidden = queries + self.dropout(self.out(attended))
        return hidden + self.ff(self.ff_norm(hidden))


def modality_importance(
    tokens: torch.Tensor, mask: torch.Tensor, cross: torch.Tensor, cross_mask: torch.Tensor, mode: str
) -> torch.Tensor:
    """Return how much each token of a modality has in common with the other: softmax over `sum_j x_i · f_j`.

    With features of unit variance, the sums of about 200 products of 768 numbers differ by hundreds, so that the
    softmax gives one token all the weight (`mode="paper"`). `"scaled"` divides them by √d and by the number of
    positions j.

    Args:
        tokens: (B, M, d) The tokens of the modality.
        mask: (B, M) bool The mask of the tokens.
        cross: (B, N, d) The tokens of the other modality after they have attended to this one.
        cross_mask: (B, N) bool The mask of `cross`.

    Returns:
        (B, M) weights that sum to one and are zero on padding.
    """
    summed = (cross * cross_mask.unsqueeze(-1)).sum(1)  # (B, d): summing over j first gives the same result
    scores = torch.einsum("bmd,bd->bm", tokens, summed)  # (B, M)
    if mode == "scaled":
        scores = scores / (tokens.shape[-1] ** 0.5 * cross_mask.sum(1, keepdim=True).clamp(min=1))
    return masked_softmax(scores, mask)


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _project(inputs: int, size: int) -> nn.Module:
    return nn.Identity() if inputs == size else nn.Linear(inputs, size)


class MDSEPreTrainedModel(MultimodalPreTrainedModel):
    config_class = MDSEConfig
    base_model_prefix = "mdse"

    def train(self, mode: bool = True) -> "MDSEPreTrainedModel":
        """Set training mode as every model does, but with `pad_to` also for a text encoder that rests: in the code it
        has the learning rate zero, and its dropout makes its output random."""
        super().train(mode)
        if self.config.pad_to is not None and not self.config.freeze_text:
            self.base_model.text_encoder.train(mode)
        return self


class MDSEModel(MDSEPreTrainedModel):
    """Shared and private features of both modalities, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: MDSEConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.text_encoder.pad_to, self.image_encoder.keeps_prefix = config.pad_to, config.pad_to is not None
        size = config.hidden_size
        self.text_proj = _project(config.text_hidden_size, size)
        self.image_proj = _project(config.image_hidden_size, size)
        self.image_to_text, self.text_to_image = Block(config), Block(config)
        official = config.reading == "official"
        self.shared_block = Block(config) if official else None
        private = [name for name, is_learned in (("text", config.tpfl), ("image", config.ipfl)) if is_learned]
        names = [] if not config.adaptation or not private else ["both"] if official else private
        self.private_blocks = nn.ModuleDict({name: Block(config) for name in names})
        self.text_out = _mlp(size * (1 + config.tpfl), size, size, config.dropout)
        self.image_out = _mlp(size * (1 + config.ipfl), size, size, config.dropout)
        self.fusion = None if official else _mlp(2 * size, size, size, config.dropout)
        self.post_init()

    def fuse(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> MDSEOutput:
        """Fuse both modalities; `fused` is f (B, d), or [f_v; f_z] (B, 2d) in the official reading.

        The attentions are the importances of the tokens (B, L) and of the regions (B, K·R), one tensor each, or `()`
        for a modality without private features. The weights of what `pad_to` adds are not returned.
        """
        z, v = self.text_proj(tokens), self.image_proj(regions.flatten(1, 2))  # (B, L, d), (B, K·R, d)
        (z_read, z_mask), (v_read, v_mask) = self._masks(tokens, text_mask, regions, image_mask)

        text_sees_image = self.image_to_text(z, v, v_read)  # (B, L, d), equation 1: as many positions as the text
        image_sees_text = self.text_to_image(v, z, z_read)  # (B, K·R, d)
        both = torch.cat([text_sees_image, image_sees_text], 1)  # (B, L + K·R, d)
        both_mask = torch.cat([z_read, v_read], 1)
        if self.shared_block is not None:
            both = self.shared_block(both, both, both_mask)
        shared = masked_mean(both, both_mask)  # (B, d)

        text_parts, image_parts, text_attentions, image_attentions = [shared], [shared], (), ()
        if self.config.tpfl:
            weights = modality_importance(z, z_mask, image_sees_text, v_mask, self.config.importance)
            text_parts = [self._private("text", z, z_mask, weights), shared]
            text_attentions = (weights[:, : text_mask.shape[1]],)
        if self.config.ipfl:
            weights = modality_importance(v, v_mask, text_sees_image, z_mask, self.config.importance)
            image_parts = [shared, self._private("image", v, v_mask, weights)]
            of_tokens = weights.unflatten(1, regions.shape[1:3])  # (B, K, R), or (B, K, 1 + R) with a class token
            image_attentions = (of_tokens[..., self._prefix(regions) :].flatten(1),)
        f_z, f_v = self.text_out(torch.cat(text_parts, -1)), self.image_out(torch.cat(image_parts, -1))  # (B, d)
        fused = torch.cat([f_v, f_z], -1)  # (B, 2d)
        if self.fusion is not None:
            fused = self.fusion(fused)  # (B, d)
        return MDSEOutput(
            text_attentions=text_attentions,
            image_attentions=image_attentions,
            fused=fused,
            text_vector=f_z,
            image_vector=f_v,
        )

    def _prefix(self, regions: torch.Tensor) -> int:
        """Return the number of tokens before the regions of each image (B, K, R, D), such as a class token."""
        return regions.shape[2] - (self.config.image_regions or regions.shape[2]) if self.config.pad_to else 0

    def _masks(
        self, tokens: torch.Tensor, text_mask: torch.Tensor, regions: torch.Tensor, image_mask: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Return two masks of the text (B, L) and two of the images (B, K·R), all bool: what the other modality and
        the shared features read, and what the importances and the private features are about."""
        official = self.config.reading == "official"
        first = official and self.config.get_text_config().model_type != "word_vectors"
        is_content = torch.arange(tokens.shape[1], device=tokens.device) >= int(first)  # (L,)
        is_region = torch.arange(regions.shape[2], device=regions.device) >= self._prefix(regions)  # (R,)
        v_read = image_mask.repeat_interleave(regions.shape[2], 1)
        v_mask = (image_mask.unsqueeze(2) & is_region).flatten(1)
        if self.config.pad_to is None:
            text_mask = text_mask & is_content
            return (text_mask, text_mask), (v_read, v_mask)
        z_read = text_mask.any(1, keepdim=True).expand(tokens.shape[:2])
        return (z_read, z_read & is_content), (v_read, v_mask)

    def _private(self, modality: str, tokens: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the features (B, d) that a modality does not share, from tokens (B, M, d) and importances (B, M)."""
        private = (1 - weights).to(tokens.dtype).unsqueeze(-1) * tokens  # (B, M, d)
        if self.config.adaptation:
            block = self.private_blocks["both" if self.config.reading == "official" else modality]
            private = block(private, private, mask)
        return masked_mean(private, mask)


class MDSEForSequenceClassification(MultimodalForSequenceClassification, MDSEPreTrainedModel):
    """MDSE with its classifier, trained with cross-entropy and the contrastive loss."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = MDSEModel

    def add_head(self, config: MDSEConfig) -> None:
        self.dropout = nn.Identity()  # the classifier has its own
        size, classes = config.hidden_size, config.num_labels
        if config.reading == "official":
            self.classifier = _mlp(2 * size, size // 2, classes, config.dropout)
        elif config.head == "mlp":
            self.classifier = _mlp(size, size // 2, classes, config.dropout)
        else:
            self.classifier = nn.Linear(size, classes)

    def compute_loss(
        self,
        output: MDSEOutput,
        labels: torch.Tensor,
        text_labels: torch.Tensor | None,
        image_labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """Add the contrastive loss, in which each vector has the label of its modality, or else the post's; with
        `pad_to` always the post's."""
        loss = self.classification_loss(output.logits, labels)
        if self.config.contrastive == "none":
            return loss
        if self.config.pad_to is not None:
            text_labels = image_labels = None
        pairs = [(output.image_vector, image_labels), (output.text_vector, text_labels)]
        if self.config.contrastive_fused:
            pairs.insert(0, (output.fused, labels))
        features = torch.cat([vector for vector, _ in pairs])  # (E, d)
        classes = torch.cat([labels if own is None else own for _, own in pairs])  # (E,)
        if self.config.contrastive == "supcon":
            contrast = supervised_contrastive_loss(features, classes, self.config.temperature)
        else:
            contrast = ratio_contrastive_loss(features, classes)
        return loss + self.config.contrastive_weight * contrast
