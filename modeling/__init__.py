"""The architectures: one file each, and what they share in `common_*.py`.

Importing this package imports neither an architecture nor PyTorch. A row of `ARCHITECTURES` imports its file when one
of its classes is used; `register` imports them all.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module


@dataclass(frozen=True)
class Architecture:
    """A row of the table of architectures; the file's docstring has the title of the paper.

    Args:
        module: file of the architecture, which is also its `model_type`.
        prefix: beginning of the names of its classes, as in `CoMNConfig`.
        reads: what it reads.
        authors: of the paper.
        venue: where the paper was published.
        year: when.
    """

    module: str
    prefix: str
    reads: tuple[str, ...]
    authors: str
    venue: str
    year: int

    def _load(self, suffix: str) -> type:
        return getattr(import_module(f".{self.module}", __name__), self.prefix + suffix)

    @cached_property
    def config(self) -> type:
        return self._load("Config")

    @cached_property
    def processor(self) -> type:
        return self._load("Processor")

    @cached_property
    def model(self) -> type:
        return self._load("Model")

    @cached_property
    def classifier(self) -> type:
        return self._load("ForSequenceClassification")


BOTH, ASPECT = ("text", "image"), ("text", "image", "aspect")
ARCHITECTURES = {
    row.module: row
    for row in (
        Architecture("comn", "CoMN", BOTH, "Xu, Mao, Chen", "SIGIR", 2018),
        Architecture("deep_fusion", "DeepFusion", BOTH, "Chen, Wang, Liu", "ICIP", 2017),
        Architecture("gated_fusion", "GatedFusion", BOTH, "Graesser, Gupta, Sharma, Bakhturina", "arXiv", 2017),
        Architecture("mdse", "MDSE", BOTH, "Li et al.", "ICASSP", 2024),
        Architecture("mimn", "MIMN", ASPECT, "Xu, Mao, Chen", "AAAI", 2019),
        Architecture("co_memory_aspect", "CoMemoryAspect", ASPECT, "Xu, Mao, Chen", "AAAI", 2019),
    )
}


def register() -> None:
    """Make transformers' Auto classes know every architecture, and `pipeline` the task "image-text-sentiment"."""
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .common_pipeline import TASK, ImageTextSentimentPipeline

    for name, row in ARCHITECTURES.items():
        AutoConfig.register(name, row.config)
        AutoProcessor.register(row.config, row.processor)
        AutoModel.register(row.config, row.model)
        AutoModelForSequenceClassification.register(row.config, row.classifier)
    PIPELINE_REGISTRY.register_pipeline(
        TASK, ImageTextSentimentPipeline, pt_model=AutoModelForSequenceClassification, type="multimodal"
    )
