"""Load the posts that a training run reads."""

import numpy as np
import torch


def confident_rows(logits: np.ndarray, labels: list[int], threshold: float) -> list[int]:
    """Return the posts whose label has a probability above the threshold.

    Args:
        logits: The scores of every class, of shape (N, C).
        labels: The class indices of the N posts.
        threshold: The probability that the label must exceed.
    """
    probabilities = torch.as_tensor(logits).float().softmax(-1)
    label_probabilities = probabilities.gather(1, torch.as_tensor(labels).unsqueeze(1)).squeeze(1)  # (N,)
    return (label_probabilities > threshold).nonzero().flatten().tolist()
