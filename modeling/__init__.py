"""Image-and-text sentiment models. Importing this registers every architecture with transformers' Auto classes, and
the task of the pipeline."""

from typing import NamedTuple

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .base import POLARITY, MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .co_memory_aspect import (
    CoMemoryAspectConfig,
    CoMemoryAspectForSequenceClassification,
    CoMemoryAspectModel,
    CoMemoryAspectProcessor,
)
from .comn import CoMNConfig, CoMNForSequenceClassification, CoMNModel, CoMNProcessor
from .deep_fusion import (
    DeepFusionConfig,
    DeepFusionForSequenceClassification,
    DeepFusionModel,
    DeepFusionProcessor,
)
from .gated_fusion import (
    GatedFusionConfig,
    GatedFusionForSequenceClassification,
    GatedFusionModel,
    GatedFusionProcessor,
)
from .mdse import MDSEConfig, MDSEForSequenceClassification, MDSEModel, MDSEProcessor
from .mimn import MIMNConfig, MIMNForSequenceClassification, MIMNModel, MIMNProcessor
from .pipeline import TASK, ImageTextSentimentPipeline
from .processing import BadImageError, MultimodalProcessor, load_image
from .text_steps import TEXT_STEPS, prepare_text


class Architecture(NamedTuple):
    config: type[MultimodalConfig]
    processor: type[MultimodalProcessor]
    model: type[MultimodalPreTrainedModel]
    classifier: type[MultimodalPreTrainedModel]


ARCHITECTURES = {
    "comn": Architecture(CoMNConfig, CoMNProcessor, CoMNModel, CoMNForSequenceClassification),
    "deep_fusion": Architecture(
        DeepFusionConfig, DeepFusionProcessor, DeepFusionModel, DeepFusionForSequenceClassification
    ),
    "gated_fusion": Architecture(
        GatedFusionConfig, GatedFusionProcessor, GatedFusionModel, GatedFusionForSequenceClassification
    ),
    "mdse": Architecture(MDSEConfig, MDSEProcessor, MDSEModel, MDSEForSequenceClassification),
    "mimn": Architecture(MIMNConfig, MIMNProcessor, MIMNModel, MIMNForSequenceClassification),
    "co_memory_aspect": Architecture(
        CoMemoryAspectConfig,
        CoMemoryAspectProcessor,
        CoMemoryAspectModel,
        CoMemoryAspectForSequenceClassification,
    ),
}

for _name, _architecture in ARCHITECTURES.items():
    AutoConfig.register(_name, _architecture.config)
    AutoProcessor.register(_architecture.config, _architecture.processor)
    AutoModel.register(_architecture.config, _architecture.model)
    AutoModelForSequenceClassification.register(_architecture.config, _architecture.classifier)
PIPELINE_REGISTRY.register_pipeline(
    TASK, ImageTextSentimentPipeline, pt_model=AutoModelForSequenceClassification, type="multimodal"
)

__all__ = [
    "ARCHITECTURES",
    "POLARITY",
    "TASK",
    "TEXT_STEPS",
    "Architecture",
    "BadImageError",
    "ImageTextSentimentPipeline",
    "MultimodalConfig",
    "MultimodalOutput",
    "MultimodalPreTrainedModel",
    "MultimodalProcessor",
    "load_image",
    "prepare_text",
]
