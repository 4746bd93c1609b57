"""Image-and-text sentiment models. Importing this registers every architecture with transformers' Auto classes."""

from typing import NamedTuple

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor

from .base import POLARITY, MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .comn import CoMNConfig, CoMNForSequenceClassification, CoMNModel, CoMNProcessor
from .processing import SEGMENTERS, BadImageError, MultimodalProcessor, load_image


class Architecture(NamedTuple):
    config: type[MultimodalConfig]
    processor: type[MultimodalProcessor]
    model: type[MultimodalPreTrainedModel]
    classifier: type[MultimodalPreTrainedModel]


ARCHITECTURES = {
    "comn": Architecture(CoMNConfig, CoMNProcessor, CoMNModel, CoMNForSequenceClassification),
}

for _name, _architecture in ARCHITECTURES.items():
    AutoConfig.register(_name, _architecture.config)
    AutoProcessor.register(_architecture.config, _architecture.processor)
    AutoModel.register(_architecture.config, _architecture.model)
    AutoModelForSequenceClassification.register(_architecture.config, _architecture.classifier)

__all__ = [
    "ARCHITECTURES",
    "POLARITY",
    "SEGMENTERS",
    "Architecture",
    "BadImageError",
    "MultimodalConfig",
    "MultimodalOutput",
    "MultimodalPreTrainedModel",
    "MultimodalProcessor",
    "load_image",
]
