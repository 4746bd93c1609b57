"""The architectures: each has a file of its own, and what they share is in `common_*.py`.

Importing this package imports neither an architecture nor PyTorch. The file of an architecture is imported when one
of its classes is first used; `register` imports them all.
"""

from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Architecture:
    """A row of the table of architectures. The docstring of the file names the title of the paper.

    Args:
        name: The name of the file, which is also the `model_type`.
        prefix: The beginning of the names of the classes, as in `CoMNConfig`.
        reads: The modalities that the architecture reads, its `input_modalities`, "aspect" if it `reads_aspect`, and
            "lexicon" if it has no encoder for the text but reads the scores that a lexicon gives it.
        authors, venue, year: The paper.
    """

    name: str
    prefix: str
    reads: tuple[str, ...]
    authors: str
    venue: str
    year: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """The parts of a post that the architecture reads, "text", "image" or both."""
        parts = {"text": {"text", "lexicon"}, "image": {"image"}}
        return tuple(part for part, kinds in parts.items() if kinds.intersection(self.reads))

    @property
    def config(self) -> type:
        return self._class("Config")

    @property
    def processor(self) -> type:
        return self._class("Processor")

    @property
    def model(self) -> type:
        return self._class("Model")

    @property
    def classifier(self) -> type:
        return self._class("ForSequenceClassification")

    def _class(self, suffix: str) -> type:
        return getattr(import_module(f".{self.name}", __name__), self.prefix + suffix)


TEXT, BOTH, ASPECT = ("text",), ("text", "image"), ("text", "image", "aspect")
TEXT_ASPECT = ("text", "aspect")
_ROWS = (
    Architecture("comn", "CoMN", BOTH, "Xu, Mao, Chen", "SIGIR", 2018),
    Architecture(
        "sentibank_sentistrength",
        "SentiBankSentiStrength",
        ("image", "lexicon"),
        "Borth, Ji, Chen, Breuel, Chang",
        "ACM MM",
        2013,
    ),
    Architecture(
        "cbow_da_lr",
        "CBOWDALR",
        BOTH,
        "Baecchi, Uricchio, Bertini, Del Bimbo",
        "Multimedia Tools and Applications",
        2016,
    ),
    Architecture("cnn_multi", "CNNMulti", BOTH, "Cai, Xia", "NLPCC", 2015),
    Architecture("dnn_lr", "DNNLR", BOTH, "Yu, Lin, Meng, Zhao", "Algorithms", 2016),
    Architecture("hsan", "HSAN", TEXT, "Xu", "ISI", 2017),
    Architecture("multi_sentinet", "MultiSentiNet", BOTH, "Xu, Mao", "CIKM", 2017),
    Architecture("deep_fusion", "DeepFusion", BOTH, "Chen, Wang, Liu", "ICIP", 2017),
    Architecture("pcnn", "PCNN", ("image",), "You, Luo, Jin, Yang", "AAAI", 2015),
    Architecture("early_fusion", "EarlyFusion", BOTH, "You, Cao, Jin, Luo", "ACM MM", 2016),
    Architecture("late_fusion", "LateFusion", BOTH, "You, Cao, Jin, Luo", "ACM MM", 2016),
    Architecture("ccr", "CCR", BOTH, "You, Luo, Jin, Yang", "WSDM", 2016),
    Architecture("t_lstm", "TLSTM", BOTH, "You, Cao, Jin, Luo", "ACM MM", 2016),
    Architecture("gated_fusion", "GatedFusion", BOTH, "Graesser, Gupta, Sharma, Bakhturina", "arXiv", 2017),
    Architecture("mdse", "MDSE", BOTH, "Li et al.", "ICASSP", 2024),
    Architecture("mimn", "MIMN", ASPECT, "Xu, Mao, Chen", "AAAI", 2019),
    Architecture("co_memory_aspect", "CoMemoryAspect", ASPECT, "Xu, Mao, Chen", "AAAI", 2019),
    Architecture("lstm", "LSTM", TEXT, "Xu, Mao, Chen", "AAAI", 2019),
    Architecture("memnet", "MemNet", TEXT_ASPECT, "Tang, Qin, Liu", "EMNLP", 2016),
    Architecture("atae_lstm", "ATAELSTM", TEXT_ASPECT, "Wang, Huang, Zhu, Zhao", "EMNLP", 2016),
    Architecture("ian", "IAN", TEXT_ASPECT, "Ma, Li, Zhang, Wang", "IJCAI", 2017),
    Architecture("ram", "RAM", TEXT_ASPECT, "Chen, Sun, Bing, Yang", "EMNLP", 2017),
)
ARCHITECTURES = {row.name: row for row in _ROWS}


def register() -> None:
    """Register every architecture with transformers' Auto classes, and the task "image-text-sentiment" with
    `pipeline`."""
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
