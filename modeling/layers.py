"""Layers that more than one architecture uses."""

from typing import Literal

import torch
from torch import nn


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis in which padding takes no part.

    Args:
        scores: (B, M) attention scores.
        mask: (B, M) bool, True where there is something to attend to.

    Returns:
        (B, M) weights that sum to one over the True positions, all zero where a row has none: an absent
        modality then contributes a zero vector rather than NaN or an average of padding.
    """
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(-1) * mask


class GuidedAttention(nn.Module):
    """Attention over a memory, guided by a vector that may come from the other modality (CoMN, equations 7 to 14).

    With memory slots `m_i` and a guide `v`:

    - `"scalar"`: `score_i = tanh(w·[m_i; v] + b)`. Since `tanh` grows with its argument, the guide can sharpen or
      flatten the distribution but never change which slot ranks first, and no slot weighs more than
      e² = 7.4 times another.
    - `"additive"`: `score_i = u·tanh(W[m_i; v] + b)`, free of both limits.
    """

    def __init__(self, memory_size: int, guide_size: int, scoring: Literal["scalar", "additive"]):
        super().__init__()
        hidden_size = 1 if scoring == "scalar" else memory_size
        # W[m; v] = W_m m + W_v v: the guide's part is computed once a post, not once a slot.
        self.memory_proj = nn.Linear(memory_size, hidden_size)
        self.guide_proj = nn.Linear(guide_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False) if scoring == "additive" else nn.Identity()

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory (B, M, D), mask (B, M) bool, guide (B, G) -> attended vector (B, D), weights (B, M)."""
        hidden = torch.tanh(self.memory_proj(memory) + self.guide_proj(guide).unsqueeze(1))  # (B, M, H)
        weights = masked_softmax(self.score(hidden).squeeze(-1), mask)  # (B, M)
        return attend(weights, memory), weights


def attend(weights: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the memory: weights (B, M), memory (B, M, D) -> (B, D)."""
    return torch.bmm(weights.to(memory.dtype).unsqueeze(1), memory).squeeze(1)
