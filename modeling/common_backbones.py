"""How a model is built on backbones, and what reaches into the backbones of its encoders."""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .common_cnns import OWN_IMAGE_ENCODERS
from .common_config import check_fields
from .common_encoders import TextEncoder, image_sizes, load_backbone
from .common_word_vectors import WordVectors, WordVectorsConfig, read_word_vectors


class BackbonesMixin:
    """What every architecture inherits that concerns the backbones of `text_encoder` and `image_encoder`."""

    @classmethod
    def from_backbones(
        cls,
        text: str | Path,
        image: str | Path,
        tokenizer: PreTrainedTokenizerBase,
        image_size: tuple[int, int] = (64, 64),
        word_vectors: str | Path | None = None,
        **config_kwargs,
    ) -> "BackbonesMixin":
        """Build a new model on pretrained or new encoders. Those that the architecture does not read are not built.

        Args:
            text: `"word_vectors"`, or the Hub id or folder of a transformer, or of a model of this project, of
                which the layers that read the text alone are then used.
            image: `"small_cnn"`, `"alexnet"` or `"raw_cnn"`, or the Hub id or folder of a vision backbone of timm or
                transformers, or of a model of this project.
            tokenizer: The tokenizer of the processor, which tells the size of the vocabulary.
            image_size: The height and width in pixels of the images that the processor makes.
            word_vectors: A text file of GloVe or word2vec to start from, if `text` is `"word_vectors"`.
            config_kwargs: Fields of the architecture's config.

        Raises:
            ValueError: If the config does not have a field, or if `word_vectors` is combined with a transformer.
        """
        check_fields(cls.config_class, config_kwargs)
        text_backbone = image_backbone = text_config = image_config = None
        if text == "word_vectors":
            text_config = WordVectorsConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
            text_config.hidden_size = config_kwargs.get("text_hidden_size") or text_config.hidden_size
        elif word_vectors is not None:
            raise ValueError(f"word_vectors={word_vectors} needs the text encoder 'word_vectors', not {text}.")
        elif "text" in cls.input_modalities:
            text_backbone, text_config = load_backbone(text, "text")
        if image in OWN_IMAGE_ENCODERS:
            image_config = OWN_IMAGE_ENCODERS[image](image_size=image_size[0])
        elif "image" in cls.input_modalities:
            image_backbone, image_config = load_backbone(image, "image")
            config_kwargs |= image_sizes(image_backbone, image_size)

        model = cls(cls.config_class(text_config=text_config, image_config=image_config, **config_kwargs))
        text_encoder, image_encoder = model.base_model.text_encoder, model.base_model.image_encoder
        if text_backbone is not None and text_encoder is not None:
            text_encoder.backbone = text_backbone
        elif word_vectors is not None and text_encoder is not None:
            table, _ = read_word_vectors(word_vectors, tokenizer, text_config.hidden_size)
            with torch.no_grad():
                text_encoder.backbone.weight.copy_(table)
        if image_backbone is not None and image_encoder is not None:
            image_encoder.backbone = image_backbone
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
        encoders = [self.base_model.text_encoder, self.base_model.image_encoder]
        backbones = [encoder.backbone for encoder in encoders if encoder is not None]
        return [backbone for backbone in backbones if getattr(backbone, "supports_gradient_checkpointing", False)]
