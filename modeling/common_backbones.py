"""How a model is built on backbones, and what reaches into the backbones of its encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from .common_cnns import OWN_IMAGE_ENCODERS
from .common_config import MultimodalConfig, check_fields
from .common_encoders import ImageEncoder, TextEncoder, image_sizes, load_backbone
from .common_word_vectors import WordVectors, WordVectorsConfig, read_word_vectors


class BackbonesMixin:
    """What every architecture inherits that concerns its encoders and their backbones.

    Attributes:
        image_part: What an image encoder takes of a trained model of this project, see `load_backbone`.
    """

    image_part: Literal["image", "class_scores"] = "image"

    def encoders(self, modality: Literal["text", "image"]) -> dict[str, TextEncoder | ImageEncoder]:
        """Return the encoders of a modality by name: "text", or "image" and the `further_image_encoders` of the
        config. There are none if the model does not read the modality."""
        names = ("text",) if modality == "text" else self.config.image_encoders
        encoders = {name: getattr(self.base_model, f"{name}_encoder") for name in names}
        return {name: encoder for name, encoder in encoders.items() if encoder is not None}

    @classmethod
    def from_backbones(
        cls,
        text: str | Path,
        image: str | Path,
        tokenizer: PreTrainedTokenizerBase,
        image_size: tuple[int, int] = (64, 64),
        word_vectors: str | Path | None = None,
        further_image_encoders: Mapping[str, str | Path] | None = None,
        **config_kwargs,
    ) -> "BackbonesMixin":
        """Build a new model on pretrained or new encoders. Those that the architecture does not read are not built.

        Args:
            text: `"word_vectors"`, or the Hub id or folder of a transformer, or of a model of this project, of
                which the layers that read the text alone are then used.
            image: `"small_cnn"`, `"alexnet"`, `"raw_cnn"` or `"lrn_cnn"`, or the Hub id or folder of a vision backbone
                of timm or transformers, or of a model of this project.
            tokenizer: The tokenizer of the processor, which tells the size of the vocabulary.
            image_size: The height and width in pixels of the images that the processor makes.
            word_vectors: A text file of GloVe or word2vec to start from, if `text` is `"word_vectors"`.
            further_image_encoders: As `image`, for each further image encoder by its name; by default that of `image`.
            config_kwargs: Fields of the architecture's config.

        Raises:
            ValueError: If the config does not have a field or encoder, or a transformer comes with `word_vectors`.
        """
        check_fields(cls.config_class, config_kwargs)
        text_backbone = text_config = None
        if "text" in cls.input_modalities:
            text_size = config_kwargs.get("text_hidden_size")
            text_backbone, text_config = _load_text_backbone(text, tokenizer, word_vectors, text_size)
        image_backbones, image_fields = {}, {}
        if "image" in cls.input_modalities:
            sources = image_sources(cls.config_class, image, further_image_encoders or {})
            image_backbones, image_fields = _load_image_backbones(sources, image_size, cls.image_part)

        model = cls(cls.config_class(text_config=text_config, **config_kwargs | image_fields))
        text_encoder = model.base_model.text_encoder
        if text_backbone is not None and text_encoder is not None:
            text_encoder.backbone = text_backbone
        elif word_vectors is not None and text_encoder is not None:
            table, _ = read_word_vectors(word_vectors, tokenizer, text_config.hidden_size)
            with torch.no_grad():
                text_encoder.backbone.weight.copy_(table)
        for name, encoder in model.encoders("image").items():
            encoder.backbone = image_backbones.get(name, encoder.backbone)
        return model.train()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings of the text encoder.

        Raises:
            NotImplementedError: If the model does not read text.
        """
        backbone = self._text_backbone()
        return backbone if isinstance(backbone, WordVectors) else backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings of the text encoder."""
        backbone = self._text_backbone()
        if isinstance(backbone, WordVectors):
            backbone.weight, backbone.num_embeddings = value.weight, value.num_embeddings
        else:
            backbone.set_input_embeddings(value)

    def _text_backbone(self) -> nn.Module:
        if self.base_model.text_encoder is None:
            raise NotImplementedError(f"This {type(self).__name__} does not read text: it has no token embeddings.")
        backbone = self.base_model.text_encoder.backbone
        return backbone.backbone if isinstance(backbone, TextEncoder) else backbone  # below a BiLSTM

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **kwargs) -> None:
        """Save memory in the backbones that are trained: their activations are computed again in the backward pass.

        Raises:
            ValueError: If none of the trained backbones supports it.
        """
        backbones = self._checkpointing_backbones()
        trained = [backbone for backbone in backbones if any(p.requires_grad for p in backbone.parameters())]
        if not trained:
            raise ValueError("Activation checkpointing needs a trained transformer or timm backbone that supports it.")
        for backbone in trained:
            backbone.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def activation_checkpointing_disable(self) -> None:
        """Undo `activation_checkpointing_enable`."""
        for backbone in self._checkpointing_backbones():
            backbone.activation_checkpointing_disable()

    def _checkpointing_backbones(self) -> list[PreTrainedModel]:
        encoders = self.encoders("text") | self.encoders("image")
        backbones = [encoder.backbone for encoder in encoders.values()]
        return [backbone for backbone in backbones if getattr(backbone, "supports_gradient_checkpointing", False)]


def image_sources(
    config_class: type[MultimodalConfig], image: str | Path, further: Mapping[str, str | Path]
) -> dict[str, str | Path]:
    """Return where each image encoder of an architecture comes from, by its name.

    Raises:
        ValueError: If a further encoder is not one of the architecture.
    """
    names = config_class.further_image_encoders
    for name in further:
        if name not in names:
            known = f"only {', '.join(names)}" if names else "only one image encoder"
            raise ValueError(f"a {config_class.model_type} has no further image encoder {name!r}: it has {known}.")
    return {"image": image} | {name: further.get(name, image) for name in names}


def _load_text_backbone(
    text: str | Path, tokenizer: PreTrainedTokenizerBase, word_vectors: str | Path | None, hidden_size: int | None
) -> tuple[nn.Module | None, PreTrainedConfig]:
    """Return the pretrained backbone of the text encoder, or None for word vectors, and its config."""
    if text == "word_vectors":
        config = WordVectorsConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
        config.hidden_size = hidden_size or config.hidden_size
        return None, config
    if word_vectors is not None:
        raise ValueError(f"word_vectors={word_vectors} needs the text encoder 'word_vectors', not {text}.")
    return load_backbone(text, "text")


def _load_image_backbones(
    sources: Mapping[str, str | Path], image_size: tuple[int, int], part: Literal["image", "class_scores"]
) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Return the pretrained backbones of image encoders by name, and the fields of a config for all encoders."""
    backbones, fields = {}, {}
    for name, source in sources.items():
        if source in OWN_IMAGE_ENCODERS:
            fields[f"{name}_config"] = OWN_IMAGE_ENCODERS[source](image_size=image_size[0])
        else:
            backbones[name], fields[f"{name}_config"] = load_backbone(source, part)
            sizes = image_sizes(backbones[name], image_size)
            fields |= {f"{name}_{size}": value for size, value in sizes.items()}
    return backbones, fields
