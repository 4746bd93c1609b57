"""The fields that the config of every architecture has."""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.pipelines import PIPELINE_REGISTRY

from .common_cnns import OWN_IMAGE_ENCODERS, SmallCNNConfig
from .common_encoders import BiLSTMConfig, encoder_config
from .common_pipeline import CUSTOM_PIPELINES, TASK
from .common_precomputed import PrecomputedConfig
from .common_word_vectors import WordVectorsConfig

POLARITY = ("negative", "neutral", "positive")


@strict
class MultimodalConfig(PreTrainedConfig):
    """The fields that the config of every architecture has.

    A model's `from_backbones` fills the fields of the encoders. In a config that is written by hand they must agree
    with the encoders.

    Args:
        text_config: The config of the text encoder: `WordVectorsConfig` or the config of any transformer.
        image_config: The config of the image encoder: `SmallCNNConfig`, or the config of any vision backbone of timm
            or transformers.
        text_hidden_size: The width D of the text encoder's output (B, L, D).
        image_hidden_size: The width D of the image encoder's output (B, K, R, D).
        image_regions: The number R of regions of an image, at the image size that the processor makes.
        freeze_text: Whether the text encoder keeps its weights and stays in eval mode.
        freeze_image: Whether the image encoder, and each further one, keeps its weights and stays in eval mode.
        standardize: Whether image features are standardised before the fusion reads them, see `FeatureNorm`. None of
            the papers does this, but most of these models learn faster and become better with it.
        modalities: The parts of a post that the model was trained with. What the other part would do to the scores is
            not trained, so the pipeline leaves it out.
        aspects: The aspects of the training posts, which the demo offers. Only models that read an aspect have them.
        columns: The further columns that the training posts had, such as "caption", and that the pipeline and the
            commands expect.
        score_temperature: What the logits are divided by before the softmax that gives the scores of the pipeline and
            of all commands. train.py fits it on the validation posts. The `logits` of the model are never divided.
        id2label: The names of the classes. The default is polarity: negative, neutral, positive.
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
    # The names of the image encoders besides "image", for example "scene". The config of such an architecture has the
    # fields `scene_config`, `scene_hidden_size` and `scene_regions`, and `scene_config` in its `sub_configs`.
    further_image_encoders = ()

    text_config: dict | PreTrainedConfig | None = None
    image_config: dict | PreTrainedConfig | None = None
    text_hidden_size: int | None = None
    image_hidden_size: int | None = None
    image_regions: int | None = None
    freeze_text: bool = False
    freeze_image: bool = False
    standardize: bool = True
    modalities: Literal["both", "text", "image"] = "both"
    aspects: list[str] | None = None
    columns: list[str] | None = None
    score_temperature: float = 1.0

    def __post_init__(self, **kwargs):
        if not 0 < self.score_temperature < float("inf"):
            raise ValueError(f"score_temperature={self.score_temperature}: give a finite number above 0.")
        self.text_config = encoder_config(self.text_config or WordVectorsConfig())
        if self.text_hidden_size is None:
            self.text_hidden_size = self.text_config.hidden_size
        for name in self.image_encoders:
            self._fill_image_fields(name)
        self._check_numbers()
        if self.id2label is None and "num_labels" not in kwargs:
            self.id2label = dict(enumerate(POLARITY))
        if self.id2label is not None:
            self.id2label = _checked_labels(self.id2label)
            self.label2id = {name: index for index, name in self.id2label.items()}
        if TASK in PIPELINE_REGISTRY.supported_tasks:
            # Otherwise `pipeline` would ask the user to trust the code that the model's folder contains.
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        # All three classes are named, so that a model saved from either class loads through each Auto class.
        module, name = type(self).__module__.rpartition(".")[2], type(self).__name__.removesuffix("Config")
        self.auto_map = {
            "AutoConfig": f"{module}.{name}Config",
            "AutoModel": f"{module}.{name}Model",
            "AutoModelForSequenceClassification": f"{module}.{name}ForSequenceClassification",
        }

    @property
    def image_encoders(self) -> tuple[str, ...]:
        """The names of all image encoders."""
        return ("image", *self.further_image_encoders)

    def _fill_image_fields(self, name: str) -> None:
        """Fill the fields of an image encoder. A further encoder without a config has that of the first."""
        config = encoder_config(getattr(self, f"{name}_config") or self.image_config or SmallCNNConfig())
        setattr(self, f"{name}_config", config)
        if getattr(self, f"{name}_hidden_size") is None and hasattr(config, "hidden_size"):
            setattr(self, f"{name}_hidden_size", config.hidden_size)
        own = (*OWN_IMAGE_ENCODERS.values(), PrecomputedConfig)
        if getattr(self, f"{name}_regions") is None and isinstance(config, own):
            setattr(self, f"{name}_regions", config.num_regions)

    def get_text_config(self, *args, **kwargs) -> PreTrainedConfig:
        """Return the config of the token embeddings, which transformers changes: that below a BiLSTM."""
        config = super().get_text_config(*args, **kwargs)
        return config.backbone_config if isinstance(config, BiLSTMConfig) else config

    @property
    def reads_vectors(self) -> bool:
        """Whether vectors that were computed beforehand take the place of pictures."""
        return isinstance(self.image_config, PrecomputedConfig)

    @property
    def card_notes(self) -> tuple[str, ...]:
        """What the card says about the architecture besides what was measured, as sentences."""
        return ()

    @property
    def class_scores_config(self) -> PreTrainedConfig:
        """The config of the image encoder that returns the scores which the model gives an image by itself.

        Raises:
            ValueError: If the model is not a classifier of images.
        """
        raise ValueError(
            f"the scores of a {self.model_type} cannot be read as those of an image: train a gated_fusion with "
            "branch=image."
        )

    @property
    def text_branch_config(self) -> PreTrainedConfig:
        """The config of the part that reads the text alone, which another model can take as its text encoder."""
        return self.text_config

    def _check_numbers(self) -> None:
        """Check that sizes and counts are 1 or more, shares that are dropped are below 1, and other numbers finite."""
        for name in own_fields(type(self)):
            value = getattr(self, name)
            for number in value if isinstance(value, list | tuple) else [value]:
                if type(number) is int and "dropout" not in name and number < 1:
                    raise ValueError(f"{name}={value}: give whole numbers that are 1 or more.")
                if type(number) is float and not (0 <= number < (1 if "dropout" in name else math.inf)):
                    limit = " and below 1" if "dropout" in name else ""
                    raise ValueError(f"{name}={value}: give finite numbers that are 0 or more{limit}.")

    def to_dict(self) -> dict:
        """Return the fields and the pipeline, whose source `save_pretrained` copies beside the model."""
        return super().to_dict() | {"custom_pipelines": CUSTOM_PIPELINES}


def _checked_labels(id2label: dict) -> dict[int, str]:
    """Return the names of the classes in the order of the logits.

    Raises:
        ValueError: If a class has no name or two classes have one, since scores would get lost.
    """
    names = {str(index): name for index, name in id2label.items()} if isinstance(id2label, dict) else {}
    indices = range(len(names))
    if not names or set(names) != set(map(str, indices)) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"id2label={id2label}: give each class, counted from 0, a name that is a string.")
    if len(set(names.values())) < len(names):
        raise ValueError(f"id2label={id2label}: two classes have one name; give each its own.")
    return {index: names[str(index)] for index in indices}


def own_fields(config_class: type[MultimodalConfig]) -> list[str]:
    """Return the names of the fields that transformers' configs do not have."""
    return sorted(set(config_class.__dataclass_fields__) - set(PreTrainedConfig.__dataclass_fields__))


def check_fields(config_class: type[MultimodalConfig], names: Iterable[str]) -> None:
    """Check that a config has these fields.

    Raises:
        ValueError: If it does not have one of them.
    """
    fields = config_class.__dataclass_fields__
    unknown = sorted(set(names) - set(fields) - {"num_labels"})
    if unknown:
        raise ValueError(
            f"{config_class.__name__} has no field {', '.join(unknown)}; it has {', '.join(own_fields(config_class))}."
        )
