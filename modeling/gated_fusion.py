"""The MVSO study's classifiers: a BiLSTM's text vector and an image vector, gated, joined, classified by label or by
label embedding; or either modality alone.

Graesser, Gupta, Sharma, Bakhturina: Sentiment Classification using Images and Label Embeddings. arXiv 1712.00725. No
code was published; where the paper leaves a choice, the docstrings say which is taken. The letters (a) to (h) are
those of its classifiers: (a) image, (b) image from raw pixels, (c) image embedding, (d) text, (e) text embedding, (f)
concatenation, (g) gated fusion, (h) combined embedding.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalConfig, MultimodalOutput, MultimodalPreTrainedModel
from .common_layers import MaskedLSTM, masked_mean
from .common_processing import MultimodalProcessor
from .common_word_vectors import build_word_tokenizer, read_word_vectors


@strict
class GatedFusionConfig(MultimodalConfig):
    """Config of the MVSO study's classifiers; the fields of `MultimodalConfig` and these.

    The default is what the paper's text calls its best, (g) with an unconstrained gate on the text, a constrained one
    on the compressed image, and dropout of 0.3, in smaller sizes and with `fused_hidden`; its Table 8 gives that place
    to another row.

    Args:
        branch: the modalities read. The encoder of a modality that is not read does not exist.
        fusion: of branch `"both"`: `"concat"`, [text; image] (f), or `"gated"`, [w_t ⊙ text; w_v ⊙ image] (g, h).
        text_gate: weights of the text's gate: `"GL1"` unconstrained, `"GL2"` in [0, 1]. All begin at one (unstated).
        image_gate: the same of the image's gate.
        text_hidden: units of the BiLSTM in one direction (300 in the paper); the text vector is twice as long.
        image_hidden: widths of the dense layers (ReLU) over the image: one of the text vector's length before the gate
            is the paper's "compressed" (600), none its "retained".
        image_dropout: share dropped after each of these layers, one number a layer; () for none.
        image_relu: ReLU on the image encoder's vector before them, as in (a).
        image_pooling: `"mean"` over the regions of an image, or `"flatten"`, all of them side by side, as between the
            convolutions and the dense layers of (b), whose image encoder is `raw_cnn`.
        fused_hidden: widths of dense layers (ReLU) between the fused vector and the classifier; () in the paper.
            Without them a score is a part from the text plus a part from the image (a gate is the same for all
            posts), and cross-entropy is least at chance where the label hangs on how the two go together.
        dropout: share of the fused vector dropped before these layers (0 and 0.3 in the paper).
        head: `"classes"`, one score a class, or `"label_embedding"`: the fused vector is mapped linearly to the space
            of label embeddings, and a class's score is the cosine of the result and its embedding (c, e, h).
        label_embedding: `"given"`, word vectors of the labels' names, which stay as they are, or `"learned"`.
        label_embedding_size: E, of one label (50, GloVe 6B, in the paper).
        loss: `"cross_entropy"` over the scores; of label embeddings also those of `embedding_loss`.
        margin: of `"rank_hinge"` (0.1 in DeViSE).
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
    text_hidden: int = 128
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
        if self.image_dropout and len(self.image_dropout) != len(self.image_hidden):
            raise ValueError(f"image_dropout={self.image_dropout} is not one number a layer of {self.image_hidden}.")
        if self.head == "classes" and self.loss != "cross_entropy":
            raise ValueError(f"loss={self.loss!r} compares label embeddings: set head='label_embedding'.")
        if self.label_embedding == "learned" and self.loss in ("mse", "cosine", "hinge"):
            raise ValueError(
                f"loss={self.loss!r} is least where all labels have one embedding: with label_embedding='learned' "
                "use 'cross_entropy' or 'rank_hinge'."
            )

    @property
    def text_size(self) -> int:
        """Length of the text vector; 0 without text."""
        return 0 if self.branch == "image" else 2 * self.text_hidden

    @property
    def image_sizes(self) -> list[int]:
        """Length of the image vector before its dense layers and after each; 0 without image."""
        pooled = self.image_hidden_size * (self.image_regions if self.image_pooling == "flatten" else 1)
        return [0] if self.branch == "text" else [pooled, *self.image_hidden]

    @property
    def fused_sizes(self) -> list[int]:
        """Length of [text; image] and after each dense layer over it; the classifier reads the last."""
        return [self.text_size + self.image_sizes[-1], *self.fused_hidden]


class GatedFusionProcessor(MultimodalProcessor):
    """The processor of the MVSO study: 101 tokens of text (the paper's length), one image unless told otherwise."""

    default_max_length = 101


@dataclass
class GatedFusionOutput(MultimodalOutput):
    """The fields of `MultimodalOutput` and these.

    Args:
        text_gate: (2 · text_hidden,) the weights of the text's gate, one for all posts; None without gates.
        image_gate: (D_image,) the same of the image's gate.
        embedding: (B, E) the point of the label embeddings' space that a post is mapped to; None without them.
    """

    text_gate: torch.Tensor | None = None
    image_gate: torch.Tensor | None = None
    embedding: torch.Tensor | None = None


class Gate(nn.Module):
    """`y = w ⊙ x` with learned weights, one for all posts: any (GL1), or in [0, 1] (GL2).

    The constraint is Keras's, a clip after every update. PyTorch's optimisers have no place for that, so the update is
    clipped where the next training step begins, and whatever else reads the weights reads them clipped.
    """

    def __init__(self, size: int, kind: Literal["GL1", "GL2"]):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """vector (B, D) -> gated vector (B, D), gate (D,)."""
        weight = self.weight
        if self.kind == "GL2":
            if self.training:
                with torch.no_grad():
                    self.weight.clamp_(0, 1)
            weight = self.weight.clamp(0, 1)  # passes the gradient at 0 and 1
        return weight * vector, weight


def last_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A BiLSTM's states (B, L, 2H), zero where mask (B, L) is False -> what it has when all is read (B, 2H): the
    forward half at the last True position, the backward half at the first."""
    last = (torch.arange(mask.shape[1], device=mask.device) * mask).argmax(1)  # (B,)
    first = mask.long().argmax(1)
    forward, backward = states.chunk(2, -1)
    ends = [half.take_along_dim(at[:, None, None], 1) for half, at in ((forward, last), (backward, first))]
    return torch.cat(ends, -1).squeeze(1)


class LabelEmbeddings(nn.Module):
    """The fused vector mapped to the space of the labels' embeddings (C, E), and its cosine with each of them."""

    def __init__(self, config: GatedFusionConfig):
        super().__init__()
        self.projection = nn.Linear(config.fused_sizes[-1], config.label_embedding_size)
        labels = torch.empty(config.num_labels, config.label_embedding_size)
        if config.label_embedding == "learned":
            self.labels = nn.Parameter(labels)
        else:
            self.register_buffer("labels", labels)

    def forward(self, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """fused (B, D) -> embedding (B, E), scores (B, C)."""
        embedding = self.projection(fused)
        return embedding, unit(embedding) @ unit(self.labels).T


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (..., E) of length one; a shorter one than eps, such as an empty post's, would have a huge gradient."""
    return F.normalize(vectors.float(), dim=-1, eps=1e-3)


def embedding_loss(
    predicted: torch.Tensor, label_embeddings: torch.Tensor, labels: torch.Tensor, kind: str, margin: float
) -> torch.Tensor:
    """How far the predicted points p are from the embeddings t of their labels; the mean over B posts.

    - `"mse"`: the mean over the E numbers of (p - t)².
    - `"cosine"`: -cos(p, t). Keras 1 divides it by E, which RMSprop does not see.
    - `"hinge"`: the mean over the E numbers of max(0, 1 - t·p), Keras's loss of that name; the likelier reading, since
      the two others have Keras's names.
    - `"rank_hinge"`: Σ max(0, margin - t·p + t'·p) over the other labels' embeddings t', all t of length one. It is
      that of DeViSE, which the paper cites.

    Args:
        predicted: (B, E). label_embeddings: (C, E). labels: (B,).
    """
    predicted, label_embeddings = predicted.float(), label_embeddings.float()
    targets = label_embeddings[labels]  # (B, E)
    if kind == "mse":
        return F.mse_loss(predicted, targets)
    if kind == "cosine":
        return -(unit(predicted) * unit(targets)).sum(-1).mean()
    if kind == "hinge":
        return F.relu(1 - targets * predicted).mean()
    scores = (predicted @ unit(label_embeddings).T).float()  # (B, C)
    own = scores.gather(1, labels.unsqueeze(1))  # (B, 1)
    others = 1 - F.one_hot(labels, scores.shape[1])
    return (F.relu(margin - own + scores) * others).sum(1).mean()


def label_vectors(source: torch.Tensor | str | Path, names: list[str], size: int) -> torch.Tensor:
    """The vectors (len(names), size) of labels: a tensor as it is, or from a GloVe or word2vec text file. Names are
    lower-cased; one of several words has the mean of theirs.

    Raises:
        ValueError: the tensor or the file has another width, or the file lacks a word.
    """
    if isinstance(source, torch.Tensor):
        if source.shape != (len(names), size):
            raise ValueError(f"Label embeddings of shape {tuple(source.shape)}, not {(len(names), size)}.")
        return source
    tokenizer = build_word_tokenizer(names)
    table, found = read_word_vectors(source, tokenizer, size)
    words = sorted(set(tokenizer.get_vocab()) - {tokenizer.pad_token, tokenizer.unk_token})
    if found < len(words):
        raise ValueError(f"{source} has {found} of the {len(words)} words of the labels' names: {', '.join(words)}.")
    return torch.stack([table[tokenizer(name)["input_ids"]].mean(0) for name in names])


class GatedFusionPreTrainedModel(MultimodalPreTrainedModel):
    config_class = GatedFusionConfig
    base_model_prefix = "gated_fusion"

    @property
    def pools_regions(self) -> bool:
        return self.config.branch != "text" and self.config.image_pooling == "mean"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Gate):
            init.ones_(module.weight)
        elif isinstance(module, LabelEmbeddings):
            init.normal_(module.labels)
        else:
            super()._init_weights(module)


class GatedFusionModel(GatedFusionPreTrainedModel):
    """The text vector and the image vector, gated and joined, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: GatedFusionConfig):
        super().__init__(config)
        self.has_text, self.has_image = config.branch != "image", config.branch != "text"
        self.add_encoders(config, text=self.has_text, image=self.has_image)
        if self.has_text:
            self.lstm = MaskedLSTM(config.text_hidden_size, config.text_hidden, bidirectional=True)
        if self.has_image:
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

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        **kwargs,
    ) -> GatedFusionOutput:
        """See `GatedFusionOutput`; `fused` is [text; image], or that of the one branch, before dropout. There are no
        attentions. An absent modality is a zero vector."""
        vectors, gates = [], {}
        if self.has_text:
            tokens, text_mask = self.encode_text(input_ids, attention_mask, text_features)  # (B, L, D), (B, L)
            vectors.append(last_states(self.lstm(tokens, text_mask), text_mask))  # (B, 2H)
        if self.has_image:
            regions, image_mask = self.encode_images(pixel_values, image_mask, image_features)  # (B, K, R, D), (B, K)
            images = regions.flatten(2) if self.config.image_pooling == "flatten" else regions.mean(2)
            image = self.image_layers(masked_mean(images, image_mask))  # (B, D_image)
            vectors.append(image * image_mask.any(1, keepdim=True))  # no image: not the layers' biases either
        if self.text_gate is not None:
            vectors[0], gates["text_gate"] = self.text_gate(vectors[0])
            vectors[1], gates["image_gate"] = self.image_gate(vectors[1])
        return GatedFusionOutput(fused=torch.cat(vectors, -1), **gates)


class GatedFusionForSequenceClassification(GatedFusionPreTrainedModel):
    """The study's classifiers: one score a class, or nearness to the labels' embeddings.

    The paper begins (e) and (h) from a trained (d) and (g): `from_pretrained(run, head="label_embedding",
    label_vectors=...)` gives a trained model the other head and the vectors of its labels.
    """

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: GatedFusionConfig):
        super().__init__(config)
        self.gated_fusion = GatedFusionModel(config)
        layers = [nn.Dropout(config.dropout)]
        for inputs, outputs in pairwise(config.fused_sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.fused_layers = nn.Sequential(*layers)
        if config.head == "classes":
            self.classifier = nn.Linear(config.fused_sizes[-1], config.num_labels)
        else:
            self.classifier = LabelEmbeddings(config)
        self.post_init()

    @classmethod
    def from_backbones(cls, *args, label_vectors: torch.Tensor | str | Path | None = None, **kwargs):
        """As of every architecture; `label_vectors` as in `set_label_embeddings`, needed for given embeddings."""
        model = super().from_backbones(*args, **kwargs)
        if label_vectors is not None:
            model.set_label_embeddings(label_vectors)
        elif model.config.head == "label_embedding" and model.config.label_embedding == "given":
            raise ValueError("label_embedding='given': name a file of word vectors, model_kwargs label_vectors=FILE.")
        return model

    @classmethod
    def from_pretrained(cls, *args, label_vectors: torch.Tensor | str | Path | None = None, **kwargs):
        """As in transformers; `label_vectors` as in `set_label_embeddings`, for a head that is new."""
        loaded = super().from_pretrained(*args, **kwargs)
        if label_vectors is not None:
            loaded.set_label_embeddings(label_vectors)
        return loaded

    def set_label_embeddings(self, vectors: torch.Tensor | str | Path) -> None:
        """Give the labels their embeddings: a tensor (C, E) in the order of the classes, or a GloVe or word2vec text
        file that has the labels' names."""
        names = [self.config.id2label[index] for index in range(self.config.num_labels)]
        with torch.no_grad():
            head = self._label_head()
            head.labels.copy_(label_vectors(vectors, names, self.config.label_embedding_size))

    def add_label(self, name: str, vector: torch.Tensor | str | Path) -> None:
        """Add a class that was not trained on, as the last: its embedding (E,), or a file of word vectors with its
        name."""
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

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> GatedFusionOutput:
        """The inputs of `GatedFusionModel.forward`, and labels (B,) for the loss; returns its output with `logits`
        (B, C), and `embedding` (B, E) where labels have embeddings."""
        output = self.gated_fusion(**inputs)
        fused = self.fused_layers(output.fused)
        if self.config.head == "classes":
            output.logits = self.classifier(fused)
        else:
            output.embedding, output.logits = self.classifier(fused)
        if labels is not None and self.config.loss != "cross_entropy":
            table = self.classifier.labels
            output.loss = embedding_loss(output.embedding, table, labels, self.config.loss, self.config.margin)
        else:
            output.loss = self.classification_loss(output.logits, labels)
        return output
