"""Gated Fusion: a BiLSTM's text vector and an image vector, gated and joined, classified by label or label embedding.

Graesser, Gupta, Sharma, Bakhturina: *Sentiment Classification using Images and Label Embeddings*. arXiv 2017,
https://arxiv.org/abs/1712.00725.

This is the MVSO study. No code was published. Where the paper leaves a choice, the docstrings say which one this
project takes. The letters (a) to (h) are those of the paper's classifiers: (a) image, (b) image from raw pixels, (c)
image embedding, (d) text, (e) text embedding, (f) concatenation, (g) gated fusion, (h) combined embedding.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig
from transformers import initialization as init

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_encoders import BiLSTMConfig, ClassScores, ClassScoresConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import MaskedLSTM, last_states, masked_mean
from .common_losses import LabelEmbeddings, embedding_loss, label_vectors
from .common_processing import MultimodalProcessor


@strict
class GatedFusionConfig(MultimodalConfig):
    """Config of the MVSO study's classifiers: the fields of `MultimodalConfig` and these.

    The default is the model that the paper's text calls its best: (g) with an unconstrained gate on the text, a
    constrained gate on the compressed image, and dropout of 0.3. Its sizes are smaller, and it has `fused_hidden`. The
    paper's Table 8 names another row as the best.

    Args:
        branch: The modalities that the model reads. The encoder of the other modality does not exist.
        fusion: For the branch `"both"`: `"concat"`, [text; image] (f), or `"gated"`, [w_t ⊙ text; w_v ⊙ image] (g, h).
        text_gate: The weights of the text's gate: `"GL1"` are unconstrained, `"GL2"` are in [0, 1]. All weights start
            at one (not stated in the paper).
        image_gate: The weights of the image's gate, likewise.
        text_hidden: The number of units of the BiLSTM in one direction (300 in the paper). The text vector is twice as
            long. The default is 128, or that of the BiLSTM that `text_config` contains: a text encoder that is the
            text branch of a trained model. With `freeze_text` the fusion alone is trained, as in (f) to (h).
        image_hidden: The widths of the dense layers (ReLU) over the image. One layer with the length of the text
            vector is the paper's "compressed" (600), no layer is its "retained".
        image_dropout: The share dropped after each of these layers, one number per layer; () for no dropout.
        image_relu: Whether ReLU is applied to the image encoder's vector before these layers, as in (a).
        image_pooling: `"mean"` over the regions of an image, or `"flatten"`, which concatenates them, as between the
            convolutions and the dense layers of (b), whose image encoder is `raw_cnn`.
        fused_hidden: The widths of dense layers (ReLU) between the fused vector and the classifier; () in the paper.
            Without them a score is the sum of a text part and an image part, because a gate is the same for all posts.
            If the label depends on how both go together, such a model cannot be better than chance.
        dropout: The share of the fused vector that is dropped before these layers (0 and 0.3 in the paper).
        head: `"classes"`, one score per class, or `"label_embedding"`: the fused vector is mapped linearly to the
            space of label embeddings, and the score of a class is the cosine of the result and its embedding (c, e,
            h).
        label_embedding: `"given"`, word vectors of the labels' names, which do not change, or `"learned"`.
        label_embedding_size: The length E of a label embedding (50, GloVe 6B, in the paper).
        loss: `"cross_entropy"` over the scores, or, with label embeddings, one of the losses of `embedding_loss`.
        margin: The margin of `"rank_hinge"` (0.1 in DeViSE).
    """

    model_type = "gated_fusion"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *MultimodalConfig.keys_to_ignore_at_inference,
        "text_gate",
        "image_gate",
        "embedding",
    ]

    branch: Literal["both", "text", "image"] = "both"
    fusion: Literal["concat", "gated"] = "gated"
    text_gate: Literal["GL1", "GL2"] = "GL1"
    image_gate: Literal["GL1", "GL2"] = "GL2"
    text_hidden: int | None = None
    image_hidden: list[int] | tuple[int, ...] = (256,)
    image_dropout: list[float] | tuple[float, ...] = ()
    image_relu: bool = False
    image_pooling: Literal["mean", "flatten"] = "mean"
    fused_hidden: list[int] | tuple[int, ...] = (256,)
    dropout: float = 0.3
    head: Literal["classes", "label_embedding"] = "classes"
    label_embedding: Literal["given", "learned"] = "given"
    label_embedding_size: int = 50
    loss: Literal["cross_entropy", "mse", "cosine", "hinge", "rank_hinge"] = "cross_entropy"
    margin: float = 0.1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        trained = isinstance(self.text_config, BiLSTMConfig)
        units = self.text_config.hidden_size // 2 if trained else 128
        if trained and self.text_hidden not in (None, units):
            raise ValueError(f"text_hidden={self.text_hidden}: the BiLSTM of the text encoder has {units}.")
        self.text_hidden = self.text_hidden or units
        if self.image_dropout and len(self.image_dropout) != len(self.image_hidden):
            raise ValueError(f"image_dropout={self.image_dropout} is not one number per layer of {self.image_hidden}.")
        if self.head == "classes" and self.loss != "cross_entropy":
            raise ValueError(f"loss={self.loss!r} compares label embeddings: set head='label_embedding'.")
        if self.label_embedding == "learned" and self.loss in ("mse", "cosine", "hinge"):
            raise ValueError(
                f"loss={self.loss!r} is lowest if all labels have one embedding: with label_embedding='learned' "
                "use 'cross_entropy' or 'rank_hinge'."
            )

    @property
    def text_branch_config(self) -> PreTrainedConfig:
        if isinstance(self.text_config, BiLSTMConfig):
            return self.text_config
        return BiLSTMConfig(backbone_config=self.text_config, hidden_size=2 * self.text_hidden)

    @property
    def class_scores_config(self) -> PreTrainedConfig:
        if (self.branch, self.image_pooling, self.image_relu, self.head) != ("image", "mean", False, "classes"):
            return super().class_scores_config
        sizes = [*self.image_sizes, *self.fused_hidden, self.num_labels]
        return ClassScoresConfig(backbone_config=self.image_config, sizes=sizes, standardize=self.standardize)

    @property
    def text_size(self) -> int:
        """The length of the text vector; 0 without text."""
        return 0 if self.branch == "image" else 2 * self.text_hidden

    @property
    def image_sizes(self) -> list[int]:
        """The length of the image vector before its dense layers and after each; 0 without image."""
        pooled = self.image_hidden_size * (self.image_regions if self.image_pooling == "flatten" else 1)
        return [0] if self.branch == "text" else [pooled, *self.image_hidden]

    @property
    def fused_sizes(self) -> list[int]:
        """The length of [text; image] and of the output of each dense layer over it; the classifier reads the last."""
        return [self.text_size + self.image_sizes[-1], *self.fused_hidden]


class GatedFusionProcessor(MultimodalProcessor):
    """The processor of the MVSO study: by default 101 tokens of text (the paper's length) and one image."""

    default_max_length = 101


@dataclass
class GatedFusionOutput(MultimodalOutput):
    """The fields of `MultimodalOutput` and these.

    Args:
        text_gate: (2 · text_hidden,) The weights of the text's gate, the same for all posts; None without gates.
        image_gate: (D_image,) The weights of the image's gate, likewise.
        embedding: (B, E) The posts, mapped to the space of the label embeddings; None without label embeddings.
    """

    text_gate: torch.Tensor | None = None
    image_gate: torch.Tensor | None = None
    embedding: torch.Tensor | None = None


class Gate(nn.Module):
    """`y = w ⊙ x` with learned weights that are the same for all posts: unconstrained (GL1) or in [0, 1] (GL2).

    The constraint is Keras's, which clips the weights after every update. PyTorch's optimisers cannot do this. So the
    weights are clipped when the next training step begins, and whatever else reads them gets them clipped.
    """

    def __init__(self, size: int, kind: Literal["GL1", "GL2"]):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gated vector (B, D) and the gate (D,) for a vector (B, D)."""
        weight = self.weight
        if self.kind == "GL2":
            if self.training:
                with torch.no_grad():
                    self.weight.clamp_(0, 1)
            weight = self.weight.clamp(0, 1)  # its gradient passes at 0 and 1
        return weight * vector, weight


class GatedFusionPreTrainedModel(MultimodalPreTrainedModel):
    config_class = GatedFusionConfig
    base_model_prefix = "gated_fusion"
    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^fused_layers\."]

    @property
    def pools_regions(self) -> bool:
        return self.config.branch != "text" and self.config.image_pooling == "mean"

    @property
    def pools_tokens(self) -> Literal["last"] | None:
        return "last" if isinstance(self.config.text_config, BiLSTMConfig) else None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Gate):
            init.ones_(module.weight)
        elif isinstance(module, LabelEmbeddings):
            init.normal_(module.labels)
        else:
            super()._init_weights(module)


class GatedFusionModel(GatedFusionPreTrainedModel):
    """The text vector and the image vector, gated and concatenated, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: GatedFusionConfig):
        super().__init__(config)
        has_text, has_image = config.branch != "image", config.branch != "text"
        self.add_encoders(config, text=has_text, image=has_image)
        if has_text and not self.pools_tokens:
            self.lstm = MaskedLSTM(config.text_hidden_size, config.text_hidden, bidirectional=True)
        if has_image:
            layers = [nn.ReLU()] if config.image_relu else []
            for index, (inputs, outputs) in enumerate(pairwise(config.image_sizes)):
                layers += [nn.Linear(inputs, outputs), nn.ReLU()]
                if config.image_dropout:
                    layers.append(nn.Dropout(config.image_dropout[index]))
            self.image_layers = nn.Sequential(*layers)
        self.text_gate = self.image_gate = None
        if config.branch == "both" and config.fusion == "gated":
            self.text_gate = Gate(config.text_size, config.text_gate)
            self.image_gate = Gate(config.image_sizes[-1], config.image_gate)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor | None,
        text_mask: torch.Tensor | None,
        regions: torch.Tensor | None,
        image_mask: torch.Tensor | None,
    ) -> GatedFusionOutput:
        """Gate and concatenate the vectors; `fused` is [text; image], or the vector of the one branch, before dropout.

        There are no attentions. An absent modality is a zero vector.
        """
        vectors, gates = [], {}
        if tokens is not None:
            states = tokens if self.pools_tokens else self.lstm(tokens, text_mask)  # (B, L, 2H)
            vectors.append(last_states(states, text_mask))  # (B, 2H)
        if regions is not None:
            images = regions.flatten(2) if self.config.image_pooling == "flatten" else regions.mean(2)
            image = self.image_layers(masked_mean(images, image_mask))  # (B, D_image)
            vectors.append(image * image_mask.any(1, keepdim=True))  # without image, the biases must not count either
        if self.text_gate is not None:
            vectors[0], gates["text_gate"] = self.text_gate(vectors[0])
            vectors[1], gates["image_gate"] = self.image_gate(vectors[1])
        return GatedFusionOutput(fused=torch.cat(vectors, -1), **gates)


class GatedFusionForSequenceClassification(MultimodalForSequenceClassification, GatedFusionPreTrainedModel):
    """The study's classifiers: one score per class, or the nearness to the embeddings of the labels.

    The paper starts (e) and (h) from a trained (d) and (g): `from_pretrained(run, head="label_embedding",
    label_vectors=...)` gives a trained model the other head and the vectors of its labels.
    """

    _auto_class = "AutoModelForSequenceClassification"
    model_class = GatedFusionModel

    def add_head(self, config: GatedFusionConfig) -> None:
        layers = [nn.Dropout(config.dropout)]
        for inputs, outputs in pairwise(config.fused_sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.fused_layers = nn.Sequential(*layers)
        if config.head == "classes":
            self.classifier = nn.Linear(config.fused_sizes[-1], config.num_labels)
        else:
            sizes = (config.fused_sizes[-1], config.num_labels, config.label_embedding_size)
            self.classifier = LabelEmbeddings(*sizes, learned=config.label_embedding == "learned")

    def classify(self, output: GatedFusionOutput) -> None:
        """Set `logits` (B, C), and `embedding` (B, E) if the labels have embeddings."""
        scores = self.classifier(self.fused_layers(output.fused))
        if self.config.head == "classes":
            output.logits = scores
        else:
            output.embedding, output.logits = scores

    @torch.no_grad()
    def class_scores(self) -> ClassScores:
        """Return the model as an image encoder that returns the scores of the classes (`class_scores_config`)."""
        base, encoder = self.base_model, ClassScores(self.config.class_scores_config)
        encoder.backbone, encoder.norm = base.image_encoder.backbone, base.image_norm
        layers = [layer for layer in (*base.image_layers, *self.fused_layers) if isinstance(layer, nn.Linear)]
        for place, layer in enumerate([*layers, self.classifier]):
            encoder.layers[2 * place] = layer
        for parameter in self.classifier.parameters():
            parameter /= self.config.score_temperature
        return encoder

    def compute_loss(self, output: GatedFusionOutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        if self.config.loss == "cross_entropy":
            return self.classification_loss(output.logits, labels)
        return embedding_loss(output.embedding, self.classifier.labels, labels, self.config.loss, self.config.margin)

    @classmethod
    def from_backbones(cls, *args, label_vectors: torch.Tensor | str | Path | None = None, **kwargs):
        """Build a new model as every architecture does; `label_vectors` are needed for given label embeddings."""
        model = super().from_backbones(*args, **kwargs)
        if label_vectors is not None:
            model.set_label_embeddings(label_vectors)
        elif model.config.head == "label_embedding" and model.config.label_embedding == "given":
            raise ValueError(
                "label_embedding='given' needs a file of word vectors: set model_kwargs label_vectors=FILE."
            )
        return model

    @classmethod
    def from_pretrained(cls, *args, label_vectors: torch.Tensor | str | Path | None = None, **kwargs):
        """Load a model as in transformers; `label_vectors` are for a head that is new."""
        model = super().from_pretrained(*args, **kwargs)
        if label_vectors is not None:
            model.set_label_embeddings(label_vectors)
        return model

    def set_label_embeddings(self, vectors: torch.Tensor | str | Path) -> None:
        """Set the embeddings of the labels from a tensor (C, E) in the order of the classes, or from a text file of
        GloVe or word2vec that contains the names of the labels."""
        names = [self.config.id2label[index] for index in range(self.config.num_labels)]
        head = self._label_head()
        with torch.no_grad():
            head.labels.copy_(label_vectors(vectors, names, self.config.label_embedding_size))

    def add_label(self, name: str, vector: torch.Tensor | str | Path) -> None:
        """Add a class that was not in the training, as the last: from its embedding (E,), or from a file of word
        vectors that contains its name."""
        head, index = self._label_head(), self.config.num_labels
        if name in self.config.label2id:
            raise ValueError(f"There is a label {name!r} already.")
        vector = vector.unsqueeze(0) if isinstance(vector, torch.Tensor) else vector
        added = label_vectors(vector, [name], self.config.label_embedding_size)
        labels = torch.cat([head.labels.detach(), added.to(head.labels)])
        head.labels = nn.Parameter(labels) if isinstance(head.labels, nn.Parameter) else labels
        self.config.id2label = self.config.id2label | {index: name}
        self.config.label2id = self.config.label2id | {name: index}

    def _label_head(self) -> LabelEmbeddings:
        if self.config.head == "classes":
            raise ValueError("This model has no label embeddings: set head='label_embedding'.")
        return self.classifier
