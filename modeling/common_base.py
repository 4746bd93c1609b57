"""What every architecture shares: its config's common fields, loading, freezing, the encoders and the output."""

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import ModelOutput

from .common_cnns import OWN_IMAGE_ENCODERS, SmallCNNConfig
from .common_encoders import ImageEncoder, TextEncoder, encoder_config, load_backbone, to_regions
from .common_layers import FeatureNorm
from .common_pipeline import CUSTOM_PIPELINES, TASK
from .common_word_vectors import WordVectors, WordVectorsConfig, read_word_vectors

POLARITY = ("negative", "neutral", "positive")


@strict
class MultimodalConfig(PreTrainedConfig):
    """The fields that every architecture's config has.

    `from_backbones` of a model fills the encoders' fields; whoever writes a config by hand must agree with them.

    Args:
        text_config: config of the text encoder: `WordVectorsConfig`, or any transformer's.
        image_config: config of the image encoder: `SmallCNNConfig`, or any timm or transformers vision backbone's.
        text_hidden_size: D of the text encoder's (B, L, D).
        image_hidden_size: D of the image encoder's (B, K, R, D).
        image_regions: R of the same, at the image size that the processor makes.
        freeze_text: the text encoder keeps its weights and stays in eval mode.
        freeze_image: the same for the image encoder.
        standardize: features of images are standardised before the fusion reads them, see `FeatureNorm`; none of the
            papers does it, and most of these models learn faster and further with it.
        aspects: those of the training posts, for a page to offer; of models that read an aspect.
        id2label: class names; polarity (negative, neutral, positive) unless given.
    """

    # Trainer gathers every output that is not named here.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "text_logits",
        "image_logits",
        "text_attentions",
        "image_attentions",
        "fused",
    ]
    sub_configs = {"text_config": AutoConfig, "image_config": AutoConfig}

    text_config: dict | PreTrainedConfig | None = None
    image_config: dict | PreTrainedConfig | None = None
    text_hidden_size: int | None = None
    image_hidden_size: int | None = None
    image_regions: int | None = None
    freeze_text: bool = False
    freeze_image: bool = False
    standardize: bool = True
    aspects: list[str] | None = None

    def __post_init__(self, **kwargs):
        self.text_config = encoder_config(self.text_config or WordVectorsConfig())
        self.image_config = encoder_config(self.image_config or SmallCNNConfig())
        if self.text_hidden_size is None:
            self.text_hidden_size = self.text_config.hidden_size
        if self.image_hidden_size is None and hasattr(self.image_config, "hidden_size"):
            self.image_hidden_size = self.image_config.hidden_size
        if self.image_regions is None and isinstance(self.image_config, tuple(OWN_IMAGE_ENCODERS.values())):
            self.image_regions = self.image_config.num_regions
        if self.id2label is None and "num_labels" not in kwargs:
            self.id2label = dict(enumerate(POLARITY))
        if self.id2label is not None:
            self.label2id = {name: int(index) for index, name in self.id2label.items()}
        if TASK in PIPELINE_REGISTRY.supported_tasks:  # else transformers asks for trust in the folder's own code
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        # All three names, so that a saved model of either class loads through each Auto class with its own code.
        module, name = type(self).__module__.rpartition(".")[2], type(self).__name__.removesuffix("Config")
        self.auto_map = {
            "AutoConfig": f"{module}.{name}Config",
            "AutoModel": f"{module}.{name}Model",
            "AutoModelForSequenceClassification": f"{module}.{name}ForSequenceClassification",
        }

    def to_dict(self) -> dict:
        """As in transformers, with the pipeline, whose source `save_pretrained` of a model copies."""
        return super().to_dict() | {"custom_pipelines": CUSTOM_PIPELINES}


@dataclass
class MultimodalOutput(ModelOutput):
    """What every architecture returns.

    B posts, C classes, L tokens, K image slots, R regions an image, D features.

    Args:
        loss: () the loss, where labels were given.
        logits: (B, C) scores of the post's classes, before softmax; None from a model without classifier.
        text_logits: (B, C) scores from the text alone, where the architecture has them.
        image_logits: (B, C) scores from the images alone, where the architecture has them.
        text_attentions: one (B, L) tensor a hop or layer; weights sum to one, zero on padding.
        image_attentions: one (B, K·R) tensor a hop or layer, image by image, rows of each image first.
        fused: (B, D) the vector that the classifier reads.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    text_logits: torch.Tensor | None = None
    image_logits: torch.Tensor | None = None
    text_attentions: tuple[torch.Tensor, ...] | None = None
    image_attentions: tuple[torch.Tensor, ...] | None = None
    fused: torch.Tensor | None = None


class MultimodalPreTrainedModel(PreTrainedModel):
    """Base of every architecture: two encoders, and what to do with them left to the subclass."""

    config: MultimodalConfig
    # A base model reads the checkpoint of a classifier, and the classifier's head is none of its business.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]
    main_input_name = "input_ids"
    input_modalities = ("text", "image")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # Trainer otherwise passes num_items_in_batch and expects the loss to be divided by it: with a loss that is a mean
    # already, gradients would grow with gradient_accumulation_steps.
    accepts_loss_kwargs = False
    # Of training alone, so they are not in the config: whoever goes on from a trained model chooses anew.
    class_weights: list[float] | None = None
    label_smoothing: float = 0.0
    resting: tuple[str, ...] = ()  # "text", "image": encoders outside their stage of the training, see Trainer

    @classmethod
    def from_backbones(
        cls,
        text: str | Path,
        image: str | Path,
        tokenizer: PreTrainedTokenizerBase,
        image_size: tuple[int, int] = (64, 64),
        word_vectors: str | Path | None = None,
        **config_kwargs,
    ) -> "MultimodalPreTrainedModel":
        """Build a new model on pretrained or fresh encoders; the model that `from_pretrained` reads is made by this.

        Args:
            text: `"word_vectors"`, or Hub id or folder of a transformer, or of a model of this project, whose text
                encoder is taken.
            image: `"small_cnn"`, `"alexnet"` or `"raw_cnn"`; or Hub id or folder of a timm or transformers vision
                backbone, or of a model of this project.
            tokenizer: the processor's, which says how many words there are.
            image_size: height and width that the processor makes, in pixels.
            word_vectors: a GloVe or word2vec text file to begin from; `text` must be `"word_vectors"`.
            config_kwargs: fields of the architecture's config.

        Raises:
            ValueError: a field that the config does not have, or `word_vectors` beside a transformer.
        """
        fields = cls.config_class.__dataclass_fields__
        unknown = sorted(set(config_kwargs) - set(fields) - {"num_labels"})
        if unknown:
            own = sorted(set(fields) - set(PreTrainedConfig.__dataclass_fields__))
            raise ValueError(
                f"{cls.config_class.__name__} has no field {', '.join(unknown)}; it has {', '.join(own)}."
            )

        text_backbone = image_backbone = None
        if text == "word_vectors":
            text_config = WordVectorsConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
            text_config.hidden_size = config_kwargs.get("text_hidden_size") or text_config.hidden_size
        elif word_vectors is not None:
            raise ValueError(f"word_vectors={word_vectors} needs the text encoder 'word_vectors', not {text}.")
        else:
            text_backbone, text_config = load_backbone(text, "text")
        if image in OWN_IMAGE_ENCODERS:
            image_config = OWN_IMAGE_ENCODERS[image](image_size=image_size[0])
        else:
            image_backbone, image_config = load_backbone(image, "image")
            with torch.no_grad():
                _, regions, width = to_regions(image_backbone, torch.zeros(1, 3, *image_size)).shape
            config_kwargs |= {"image_hidden_size": width, "image_regions": regions}

        model = cls(cls.config_class(text_config=text_config, image_config=image_config, **config_kwargs))
        base = model.base_model
        if text_backbone is not None and base.text_encoder is not None:
            base.text_encoder.backbone = text_backbone
        elif word_vectors is not None and base.text_encoder is not None:
            table, _ = read_word_vectors(word_vectors, tokenizer, text_config.hidden_size)
            with torch.no_grad():
                base.text_encoder.backbone.weight.copy_(table)
        if image_backbone is not None and base.image_encoder is not None:
            base.image_encoder.backbone = image_backbone
        return model.train()

    def add_encoders(self, config: MultimodalConfig, text: bool = True, image: bool = True) -> None:
        """Give a base model `text_encoder`, `image_encoder` and `image_norm`; None for what it does not read."""
        self.text_encoder = TextEncoder(config.text_config) if text else None
        self.image_encoder = ImageEncoder(config.image_config) if image else None
        self.image_norm = FeatureNorm(config.image_hidden_size) if image and config.standardize else None

    @property
    def pools_regions(self) -> bool:
        """Whether the model reads no more of an image than the mean over its regions: the cache then keeps that."""
        return False

    @property
    def reads_aspect(self) -> bool:
        """Whether the sentiment is that of an aspect, which a post then has."""
        return "aspect_input_ids" in signature(self.base_model.forward).parameters

    def frozen_encoders(self) -> list[nn.Module]:
        """The encoders that training must leave as they are."""
        base, config = self.base_model, self.config
        chosen = [(config.freeze_text, base.text_encoder), (config.freeze_image, base.image_encoder)]
        return [encoder for frozen, encoder in chosen if frozen and encoder is not None]

    def train(self, mode: bool = True):
        """As in PyTorch, but frozen and resting encoders stay in eval mode: BatchNorm would update its statistics
        otherwise, and dropout would make their output random."""
        super().train(mode)
        for part in self.resting:
            encoder = getattr(self.base_model, f"{part}_encoder")
            if encoder is not None:
                encoder.eval()
        for encoder in self.frozen_encoders():
            encoder.requires_grad_(False).eval()
        return self

    def encode_text(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        text_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, L, D) and their mask (B, L) bool, from token ids or from the text encoder's cached output."""
        given = text_features if input_ids is None else input_ids
        if given is None:
            raise ValueError("Give input_ids (and attention_mask), or text_features; a mask of zeros means no text.")
        if attention_mask is None:
            attention_mask = given.new_ones(given.shape[:2], dtype=torch.long)
        encoder = self.base_model.text_encoder
        tokens = text_features if input_ids is None else encoder(input_ids, attention_mask)
        return tokens, attention_mask.bool()

    def encode_images(
        self,
        pixel_values: torch.Tensor | None,
        image_mask: torch.Tensor | None,
        image_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Regions (B, K, R, D), standardised if the config says so, and the mask of image slots (B, K) bool, from
        pixels or from the image encoder's cached output; R is one where the model reads their mean alone."""
        given = image_features if pixel_values is None else pixel_values
        if given is None:
            raise ValueError("Give pixel_values or image_features (and image_mask); a mask of False means no image.")
        if image_mask is None:
            image_mask = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
        regions = image_features if pixel_values is None else self._encode_pixels(pixel_values, image_mask)
        if self.pools_regions:
            regions = regions.mean(2, keepdim=True)
        norm = self.base_model.image_norm
        if norm is not None:
            regions = norm(regions, image_mask.unsqueeze(-1).expand(regions.shape[:3]))
        return regions, image_mask

    def _encode_pixels(self, pixel_values: torch.Tensor, image_mask: torch.Tensor) -> torch.Tensor:
        """pixel_values (B, K, 3, H, W), image_mask (B, K) bool -> (B, K, R, D), zero in empty slots."""
        encoder = self.base_model.image_encoder
        slots = pixel_values.flatten(0, 1)  # (B·K, 3, H, W)
        if torch.compiler.is_compiling():  # a graph has fixed shapes: empty slots are encoded too, then masked
            regions = encoder(slots)
        else:
            # Empty slots cost nothing and stay out of BatchNorm's statistics. One is always encoded, so that the
            # gradient of a batch without images exists and every process of a distributed run reports it.
            filled = image_mask.flatten().clone()
            filled[0] |= ~filled.any()
            encoded = encoder(slots[filled])  # (N, R, D)
            regions = encoded.new_zeros(slots.shape[0], *encoded.shape[1:])
            regions[filled] = encoded
        return regions.unflatten(0, image_mask.shape)

    def set_loss(self, class_weights: list[float] | None = None, label_smoothing: float = 0.0) -> None:
        """Weigh classes and smooth labels in the cross-entropy; what an architecture adds to it stays as it is.

        Args:
            class_weights: one number a class; a batch's loss is the weighted mean over its posts.
            label_smoothing: the share of a label that is spread over all classes.

        Raises:
            ValueError: not one weight a class, or the model's loss is no cross-entropy.
        """
        kind = getattr(self.config, "loss", "cross_entropy")
        if kind != "cross_entropy" and (class_weights is not None or label_smoothing):
            raise ValueError(
                f"class_weights and label_smoothing_factor are of cross-entropy: they mean nothing to loss={kind!r}."
            )
        if class_weights is not None and len(class_weights) != self.config.num_labels:
            names = ", ".join(self.config.id2label.values())
            raise ValueError(f"class_weights={class_weights}: give one number for each of {names}, or 'balanced'.")
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Mean cross-entropy of logits (B, C) and labels (B,) as `set_loss` says, or None without labels.

        Raises:
            ValueError: a label that is no class. Not on a GPU, which would have to wait, nor in a compiled graph.
        """
        if labels is None:
            return None
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            strangers = labels[(labels < 0) | (labels >= logits.shape[1])]
            if len(strangers):
                names = strangers.unique().tolist()
                raise ValueError(f"labels hold {names}, but the classes are 0..{logits.shape[1] - 1}.")
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights, dtype=torch.float)
        return F.cross_entropy(logits.float(), labels, weights, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, WordVectors):
            # The spread of GloVe's vectors. At a tenth of it, attention guided by the text learns much later: the
            # guide is drowned by the memory (sample_posts, posts decided by both: 34 % against 100 % after 10 epochs).
            init.normal_(module.weight, std=0.4)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        else:
            super()._init_weights(module)

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **kwargs) -> None:
        """Trade computation for memory in the backbones that are trained.

        Raises:
            ValueError: no backbone is trained, or none of them supports it.
        """
        encoders = [self.base_model.text_encoder, self.base_model.image_encoder]
        backbones = [encoder.backbone for encoder in encoders if encoder is not None]
        trained = [backbone for backbone in backbones if any(p.requires_grad for p in backbone.parameters())]
        able = [backbone for backbone in trained if getattr(backbone, "supports_gradient_checkpointing", False)]
        if not able:
            raise ValueError("Activation checkpointing needs a trained transformer or timm backbone that supports it.")
        for backbone in able:
            backbone.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs) -> None:
        """As in transformers, under the names that the modules have now.

        By default transformers 5 writes ViT-like weights under older names, which `from_pretrained` maps back but
        Trainer's resuming and best-model loading do not (transformers#43701).
        """
        kwargs.setdefault("save_original_format", False)
        super().save_pretrained(save_directory, **kwargs)
