"""The base of every architecture: the output, and a model that encodes text, aspect and images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple, logging

from .common_backbones import BackbonesMixin
from .common_config import MultimodalConfig
from .common_encoders import ImageEncoder, TextEncoder
from .common_layers import ContextAttention, FeatureNorm
from .common_loading import follow_umask
from .common_word_vectors import WordVectors

logger = logging.get_logger(__name__)


@dataclass
class MultimodalOutput(ModelOutput):
    """The output of every architecture, for B posts, C classes, L tokens, K image slots, R regions and D features.

    Args:
        loss: () The loss, if labels were given.
        logits: (B, C) The scores of the classes before softmax. A model without classifier does not have them.
        text_logits: (B, C) The scores from the text alone, if the architecture computes them.
        image_logits: (B, C) The scores from the images alone, if the architecture computes them.
        text_attentions: One tensor (B, L) per hop or layer, zero on padding; the sum is one, or with `pad_to` less.
        image_attentions: One tensor (B, K·R) per hop or layer, image by image, the regions of an image row by row.
        fused: (B, D) The vector that the classifier reads.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    text_logits: torch.Tensor | None = None
    image_logits: torch.Tensor | None = None
    text_attentions: tuple[torch.Tensor, ...] | None = None
    image_attentions: tuple[torch.Tensor, ...] | None = None
    fused: torch.Tensor | None = None


class MultimodalPreTrainedModel(BackbonesMixin, PreTrainedModel):
    """The base of every architecture: it encodes text, aspect and images, and the subclass implements `fuse`.

    An architecture that reads one modality says so in `input_modalities`: `("text",)` or `("image",)`.

    `fuse(tokens, text_mask, regions, image_mask)` gets the tokens (B, L, D), their mask (B, L) bool, the regions of
    the images (B, K, R, D_i) and the mask of the image slots (B, K) bool. Tokens or regions are None if the model does
    not have the encoder, and so is the mask of the slots; the mask of the text is given wherever it is known. If
    `reads_aspect`, `fuse` also gets the tokens of the aspect (B, N, D) and their mask (B, N) bool. It gets by name the
    regions that the config's `further_image_encoders` make of the same images, for example `scene` (B, K, R, D_s), the
    `further_inputs` of the class, None where they are not given, and `input_ids` (B, L) if `reads_input_ids`, None
    with cached features of the text.
    It returns a `MultimodalOutput` without logits.
    """

    config: MultimodalConfig
    # A base model can be loaded from the checkpoint of a classifier and then leaves out the head.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]
    _no_split_modules = ["TextEncoder", "ImageEncoder", "ProjectedAttention"]
    _supports_sdpa = True
    main_input_name = "input_ids"
    input_modalities = ("text", "image")
    supports_gradient_checkpointing = True
    # The loss is a mean already. Otherwise Trainer would expect it to be divided by num_items_in_batch, and gradients
    # would grow with gradient_accumulation_steps.
    accepts_loss_kwargs = False
    # Whether the sentiment is about an aspect, which is then an input.
    reads_aspect = False
    # Whether the fusion reads the ids of the tokens too.
    reads_input_ids = False
    # The names of the tensors that the processor makes of further columns of a post, see `encode_further`.
    further_inputs: tuple[str, ...] = ()
    # Whether the model reads only the mean over the regions of an image. The feature cache then stores only the mean.
    pools_regions = False
    # The one vector of a text that the model reads, which the feature cache then stores: the "mean" over the tokens,
    # or the "last" states of a BiLSTM that the text encoder contains. None if it reads the tokens.
    pools_tokens: Literal["mean", "last"] | None = None
    # The encoders ("text", "image") that the current stage of the training does not train.
    resting: tuple[str, ...] = ()
    # How the weights matched those of the checkpoint, until the model is trained, see `check_weights`.
    loading_report: dict | None = None

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """Load a model as in transformers, and keep the report on its weights."""
        model, model.loading_report = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        return (model, model.loading_report) if output_loading_info else model

    def add_encoders(self, config: MultimodalConfig, text: bool = True, image: bool = True) -> None:
        """Give a base model `text_encoder`, `image_encoder` and `image_norm`, or None for what it does not read: what
        is not in `input_modalities`, or here False.

        Each further image encoder has an encoder and a norm too, for example `scene_encoder` and `scene_norm`.
        """
        text, image = text and "text" in self.input_modalities, image and "image" in self.input_modalities
        self.text_encoder = TextEncoder(config.text_config) if text else None
        for name in config.image_encoders:
            encoder_config, size = getattr(config, f"{name}_config"), getattr(config, f"{name}_hidden_size")
            setattr(self, f"{name}_encoder", ImageEncoder(encoder_config) if image else None)
            setattr(self, f"{name}_norm", FeatureNorm(size) if image and config.standardize else None)

    @can_return_tuple
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
        """Encode the inputs and fuse them.

        Args:
            input_ids: (B, L) The token ids of the texts.
            attention_mask: (B, L) One for a token, zero for padding. A row of zeros means that there is no text.
            aspect_input_ids: (B, N) The token ids of the aspects; used only if the model reads an aspect.
            aspect_attention_mask: (B, N) The mask of the aspects. A row of zeros means that there is no aspect.
            pixel_values: (B, K, 3, H, W) The images.
            image_mask: (B, K) bool. False means that the slot is empty.
            text_features: (B, L, D) The output of the text encoder, instead of `input_ids`; or (B, 1, D) if the
                model has `pools_tokens`.
            image_features: (B, K, R, D) The output of the image encoder, instead of `pixel_values`; (B, K, 1, D), the
                mean over the regions, if `pools_regions`.
            kwargs: The `further_inputs` of the architecture, and for each further image encoder what `image_features`
                is for the first, for example `scene_features`.
        """
        tokens = regions = slot_mask = None
        text_mask = None if attention_mask is None else attention_mask.bool()
        if self.text_encoder is not None:
            tokens, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
        aspect = ()
        if self.reads_aspect:
            aspect = self.encode_aspect(aspect_input_ids, aspect_attention_mask, tokens)  # (B, N, D), (B, N)
        further = {name: kwargs.get(name) for name in self.further_inputs}
        further |= {"input_ids": input_ids} if self.reads_input_ids else {}
        if self.image_encoder is not None:
            regions, slot_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
            for name in self.config.further_image_encoders:
                features = image_features if self.config.reads_vectors else kwargs.get(f"{name}_features")
                further[name], _ = self.encode_images(pixel_values, slot_mask, features, name)  # (B, K, R, D)
        return self.fuse(tokens, text_mask, regions, slot_mask, *aspect, **further)

    def encode_text(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        text_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (B, L, D) and their mask (B, L) bool, from token ids or the encoder's cached output."""
        source = text_features if input_ids is None else input_ids
        if source is None:
            raise ValueError("Give input_ids (and attention_mask), or text_features; a mask of zeros means no text.")
        if attention_mask is None:
            attention_mask = source.new_ones(source.shape[:2], dtype=torch.long)
        if input_ids is None:
            return text_features.to(self.dtype), attention_mask.bool()
        return self.base_model.text_encoder(input_ids, attention_mask), attention_mask.bool()

    def encode_aspect(
        self, aspect_input_ids: torch.Tensor | None, aspect_attention_mask: torch.Tensor | None, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (B, N, D) of the aspects and their mask (B, N) bool, all False for an absent aspect.

        A warning appears once if a whole batch has no aspect.

        Args:
            text: (B, L, D) The tokens of the texts; the tokens of absent aspects take their type and width.
        """
        if aspect_input_ids is None:
            tokens, mask = torch.zeros_like(text[:, :1]), torch.zeros_like(text[:, :1, 0], dtype=torch.bool)
        else:
            tokens, mask = self.encode_text(aspect_input_ids, aspect_attention_mask, None)
        # A compiled graph cannot branch on the content of a tensor.
        if not torch.compiler.is_compiling() and not mask.any():
            logger.warning_once(
                "A whole batch has no aspect, but this model is guided by the aspect. A zero vector replaces it."
            )
        return tokens, mask

    def encode_images(
        self,
        pixel_values: torch.Tensor | None,
        image_mask: torch.Tensor | None,
        image_features: torch.Tensor | None,
        name: str = "image",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the regions (B, K, R, D) and the mask of the slots (B, K) bool, from pixels or the cached output of
        the image encoder of this name. The regions are standardised if the config says so; R is one if the model reads
        only their mean."""
        source = image_features if pixel_values is None else pixel_values
        if source is None:
            raise ValueError(f"Give pixel_values or {name}_features (and image_mask); a mask of False means no image.")
        if image_mask is None:
            image_mask = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
        size = getattr(self.config, f"{name}_hidden_size")
        if pixel_values is None and source.shape[-1] != size:
            raise ValueError(
                f"{name}_features has {source.shape[-1]} numbers per region, and this model reads {size}."
            )
        source = source.to(self.dtype)
        encoder, norm = (getattr(self.base_model, f"{name}_{part}") for part in ("encoder", "norm"))
        regions = source if pixel_values is None else self._encode_pixels(encoder, source, image_mask)
        if self.pools_regions:
            regions = regions.mean(2, keepdim=True)
        if norm is not None:
            regions = norm(regions, image_mask.unsqueeze(-1).expand(regions.shape[:3]))
        return regions, image_mask

    def _encode_pixels(
        self, encoder: ImageEncoder, pixel_values: torch.Tensor, image_mask: torch.Tensor
    ) -> torch.Tensor:
        """Turn pixel_values (B, K, 3, H, W) and image_mask (B, K) bool into (B, K, R, D), zero in empty slots."""
        slots = pixel_values.flatten(0, 1)  # (B·K, 3, H, W)
        if torch.compiler.is_compiling():  # the shapes of a graph are fixed, so empty slots are encoded and masked
            regions = encoder(slots)
        else:
            # Empty slots cost nothing and do not enter the statistics of BatchNorm. One slot is always encoded, so
            # that the encoder has a gradient even without images, which distributed training expects of each process.
            filled = image_mask.flatten().clone()
            filled[0] |= ~filled.any()
            encoded = encoder(slots[filled])  # (N, R, D)
            regions = encoded.new_zeros(slots.shape[0], *encoded.shape[1:])
            regions[filled] = encoded
        return regions.unflatten(0, image_mask.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights. A base model that reads vectors may have none."""
        types = (parameter.dtype for parameter in self.parameters() if parameter.is_floating_point())
        return next(types, self.config.dtype or torch.float32)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The parts of a post that decide its scores, "text", "image" or both: those that were trained."""
        read = {name for name in ("text", "image") if self.encoders(name)}
        read |= {"text"} if "lexicon_scores" in self.further_inputs else set()
        hidden = {"text": "image", "image": "text"}.get(self.config.modalities)
        return tuple(name for name in ("text", "image") if name in read and name != hidden)

    def frozen_encoders(self) -> list[nn.Module]:
        """Return the encoders that training must not change."""
        frozen = [modality for modality in ("text", "image") if getattr(self.config, f"freeze_{modality}")]
        encoders = [encoder for modality in frozen for encoder in self.encoders(modality).values()]
        return [encoder for encoder in encoders if any(True for _ in encoder.parameters())]  # vectors need no encoder

    def train(self, mode: bool = True) -> "MultimodalPreTrainedModel":
        """Set training mode, but leave frozen and resting encoders in eval mode: otherwise BatchNorm would update its
        statistics, and dropout would make their output random."""
        super().train(mode)
        self.loading_report = None if mode else self.loading_report
        for modality in self.resting:
            for encoder in self.encoders(modality).values():
                encoder.eval()
        for encoder in self.frozen_encoders():
            encoder.requires_grad_(False).eval()
        return self

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv1d):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, ContextAttention):
            init.normal_(module.query, std=module.query.numel() ** -0.5)
        elif isinstance(module, WordVectors):
            # This is the spread of GloVe's vectors. With a tenth of it, an attention that the text guides learns much
            # later: on the sample posts that only both modalities decide, 34 % instead of 100 % after 10 epochs.
            init.normal_(module.weight, std=0.4)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        else:
            super()._init_weights(module)

    def save_pretrained(self, save_directory: str | Path, **kwargs) -> None:
        """Save the model under the current names of its weights, in files whose mode follows the umask.

        By default transformers 5 saves ViT-like weights under older names. `from_pretrained` maps them back, but
        Trainer does not when it resumes or loads the best model (transformers#43701).
        """
        super().save_pretrained(save_directory, **{"save_original_format": False} | kwargs)
        follow_umask(save_directory)
