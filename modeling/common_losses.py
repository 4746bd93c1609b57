"""Losses that compare embeddings, of posts with each other or of posts with their labels."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .common_word_vectors import build_word_tokenizer, read_word_vectors


def supervised_contrastive_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return Khosla et al.'s supervised contrastive loss () of vectors (E, d) with labels (E,) and a temperature τ.

    It is the mean over the vectors that have positives, which are the other vectors with its label. The loss of a
    vector is the mean over them of -log(exp(cos / τ) / Σ_others exp(cos / τ)). Without any positives the loss is 0.
    """
    features = F.normalize(features.float(), dim=-1)
    diagonal = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (features @ features.T / temperature).masked_fill(diagonal, float("-inf"))  # (E, E)
    log_share = similarity.log_softmax(1).masked_fill(diagonal, 0)
    positive = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~diagonal
    count = positive.sum(1)
    loss = -(log_share * positive).sum(1) / count.clamp(min=1)
    return loss.sum() / (count > 0).sum().clamp(min=1)


def ratio_contrastive_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log(Σ_same label C / Σ C) over pairs of different vectors (E, d) with labels (E,); C = (1 + cos) / 2."""
    features = F.normalize(features.float(), dim=-1)
    off_diagonal = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (1 + features @ features.T) / 2 * off_diagonal  # (E, E)
    positive = labels.unsqueeze(0) == labels.unsqueeze(1)
    # Without two vectors of one label this would be the logarithm of zero.
    floor = torch.finfo(similarity.dtype).eps
    return -torch.log(((similarity * positive).sum() / similarity.sum().clamp(min=floor)).clamp(min=floor))


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Scale vectors (..., E) to length one; `eps` limits the gradient of a vector near zero, as an empty post has."""
    return F.normalize(vectors.float(), dim=-1, eps=1e-3)


def embedding_loss(
    predicted: torch.Tensor, label_embeddings: torch.Tensor, labels: torch.Tensor, kind: str, margin: float
) -> torch.Tensor:
    """Return the distance () of the predicted points p from the embeddings t of their labels, the mean over B posts.

    - `"mse"`: the mean over the E numbers of (p - t)².
    - `"cosine"`: -cos(p, t). Keras 1 divides it by E, which makes no difference to RMSprop.
    - `"hinge"`: the mean over the E numbers of max(0, 1 - t·p), the loss of this name in Keras. This reading is the
      likelier one, because the two losses above have Keras's names too.
    - `"rank_hinge"`: Σ max(0, margin - t·p + t'·p) over the embeddings t' of the other labels, all t of length one.
      This is the loss of DeViSE, which the paper cites.

    Args:
        predicted: (B, E) The points p.
        label_embeddings: (C, E) The embeddings of the labels.
        labels: (B,) The labels of the posts.
        kind: One of the losses above.
        margin: The margin of `"rank_hinge"`.
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
    is_other = 1 - F.one_hot(labels, scores.shape[1])
    return (F.relu(margin - own + scores) * is_other).sum(1).mean()


def label_vectors(source: torch.Tensor | str | Path, names: list[str], size: int) -> torch.Tensor:
    """Return the embeddings (len(names), size) of labels.

    Args:
        source: The embeddings, or a text file of GloVe or word2vec. In the file the names are looked up in lower
            case; the vector of a name with several words is the mean of theirs.
        names: The names of the labels.
        size: The length of an embedding.

    Raises:
        ValueError: If the tensor or the file has another width, or if the file does not have a word.
    """
    if isinstance(source, torch.Tensor):
        if source.shape != (len(names), size):
            raise ValueError(f"Label embeddings of shape {tuple(source.shape)}, not {(len(names), size)}.")
        return source
    tokenizer = build_word_tokenizer(names)
    table, count = read_word_vectors(source, tokenizer, size)
    words = sorted(set(tokenizer.get_vocab()) - {tokenizer.pad_token, tokenizer.unk_token})
    if count < len(words):
        raise ValueError(f"{source} has {count} of the {len(words)} words of the labels' names: {', '.join(words)}.")
    return torch.stack([table[tokenizer(name)["input_ids"]].mean(0) for name in names])


class LabelEmbeddings(nn.Module):
    """Map a vector to the space of the label embeddings (C, E), and score each label by its cosine.

    Args:
        size: The length D of the vector.
        num_labels: The number C of labels.
        embedding_size: The length E of an embedding.
        learned: Whether the embeddings are trained.
    """

    def __init__(self, size: int, num_labels: int, embedding_size: int, learned: bool):
        super().__init__()
        self.projection = nn.Linear(size, embedding_size)
        labels = torch.empty(num_labels, embedding_size)
        if learned:
            self.labels = nn.Parameter(labels)
        else:
            self.register_buffer("labels", labels)

    def forward(self, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embedding (B, E) and the scores (B, C) for a vector (B, D)."""
        embedding = self.projection(fused)
        return embedding, unit(embedding) @ unit(self.labels).T
