"""Layers that more than one architecture uses."""

from typing import Literal

import torch
import torch.distributed as dist
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


class GuidedProjection(nn.Linear):
    """A projection of `GuidedAttention`; a subclass only so that weight initialisation tells it from other layers."""


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
        self.memory_proj = GuidedProjection(memory_size, hidden_size)
        self.guide_proj = GuidedProjection(guide_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False) if scoring == "additive" else nn.Identity()

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory (B, M, D), mask (B, M) bool, guide (B, G) -> attended vector (B, D), weights (B, M)."""
        hidden = torch.tanh(self.memory_proj(memory) + self.guide_proj(guide).unsqueeze(1))  # (B, M, H)
        weights = masked_softmax(self.score(hidden).squeeze(-1), mask)  # (B, M)
        return attend(weights, memory), weights


class ProjectedAttention(nn.Module):
    """Attention as in the code of MIMN's authors (github.com/xunan0812/MIMN, layers/attention.py, score "mlp").

    With keys `k_i = W_k m_i` and a query `q = W_q v`, `score_i = tanh(w·[k_i; q])`, and the attended vector is
    `W_o Σ α_i k_i + b_o`: the values are the keys. The code takes the softmax over padding too, so that its result
    depends on what else is in the batch; here padding takes no part. Over an empty memory the sum is zero, and `b_o`
    is what remains.

    That is `scoring="scalar"`, whose limits `GuidedAttention` tells; `"additive"` is `score_i = w·tanh(k_i + q)`.
    """

    def __init__(self, size: int, scoring: Literal["scalar", "additive"] = "scalar"):
        super().__init__()
        self.scoring = scoring
        self.key_proj = nn.Linear(size, size, bias=False)
        self.query_proj = nn.Linear(size, size, bias=False)
        self.score = nn.Linear(2 * size if scoring == "scalar" else size, 1, bias=False)
        self.output_proj = nn.Linear(size, size)

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory (B, M, D), mask (B, M) bool, guide (B, D) -> attended vector (B, D), weights (B, M)."""
        keys = self.key_proj(memory)  # (B, M, D)
        query = self.query_proj(guide)  # (B, D)
        # As a matrix product with one column, the last bit of w·[k; q] = w_k·k + w_q·q would depend on where in memory
        # the weights lie, and a loaded model would not give the very logits of the saved one.
        if self.scoring == "scalar":
            key_weight, query_weight = self.score.weight[0].chunk(2)
            scores = torch.tanh((keys * key_weight).sum(-1) + (query * query_weight).sum(-1, keepdim=True))  # (B, M)
        else:
            scores = (torch.tanh(keys + query.unsqueeze(1)) * self.score.weight[0]).sum(-1)  # (B, M)
        weights = masked_softmax(scores, mask)
        return self.output_proj(attend(weights, keys)), weights


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over the processes of a distributed run, and of its gradient on the way back."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.apply(gradient)


class FeatureNorm(nn.BatchNorm1d):
    """Features standardised by the mean and deviation that each has over the training posts (batch normalisation
    without weights); the positions that a mask leaves out count for nothing and become zero. In a distributed run the
    statistics are those of the batches of all processes.

    What most features of a pretrained or rectified encoder hold in common, whatever the picture, drowns what sets one
    region apart, so that attention stays even and gates learn slowly.
    """

    def __init__(self, size: int):
        super().__init__(size, affine=False)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """features (..., D), mask (...) bool -> (..., D)."""
        if self.training and not torch.compiler.is_compiling():
            shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
            count = _SumOverProcesses.apply(mask.sum()) if shared else mask.sum()
            # One vector has no deviation: with fewer than two, the running statistics serve in training too.
            if count > 1:
                values = features[mask].float()  # (N, D)
                normed = torch.zeros_like(features)
                values = self._norm_over_processes(values, count) if shared else super().forward(values)
                normed[mask] = values.to(features.dtype)
                return normed
        scale = (self.running_var + self.eps).rsqrt()
        return ((features - self.running_mean) * scale).to(features.dtype) * mask.unsqueeze(-1)

    def _norm_over_processes(self, values: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """values (N, D) of this process, count () of all vectors -> (N, D); N may be zero here, not everywhere."""
        mean = _SumOverProcesses.apply(values.sum(0)) / count  # (D,)
        variance = _SumOverProcesses.apply((values - mean).square().sum(0)) / count
        with torch.no_grad():  # as BatchNorm does
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (values - mean) * (variance + self.eps).rsqrt()


class MaskedLSTM(nn.Module):
    """An LSTM that reads the True positions of a mask as if there were no others, in one or both directions.

    Equal to `nn.LSTM` over a packed sequence, which graphs cannot hold (`torch.export`, `torch.compile`). Here each
    direction is an LSTM of its own over positions reordered so that its first step comes first and padding last: what
    is read after the last step is thrown away. The True positions may be anywhere.
    """

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True) if bidirectional else None

    def forward(self, sequence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """sequence (B, M, D), mask (B, M) bool -> the state at every position (B, M, H), (B, M, 2H) in both
        directions (forward half first); zero where the mask is False."""
        length = mask.shape[1]
        position = torch.arange(length, device=mask.device)
        states = self._read(self.forward_lstm, sequence, torch.where(mask, position, length + position))
        if self.backward_lstm is not None:
            backward = self._read(self.backward_lstm, sequence, torch.where(mask, -position, length + position))
            states = torch.cat([states, backward], -1)
        return states * mask.unsqueeze(-1)

    @staticmethod
    def _read(lstm: nn.LSTM, sequence: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
        """The states of an LSTM that reads the positions of each row in the order of their rank (B, M)."""
        order = rank.argsort(1)
        # In the weights' precision whatever autocast says: many CPUs have no other LSTM, and rounding adds up.
        with torch.autocast(sequence.device.type, enabled=False):
            states, _ = lstm(sequence.to(lstm.weight_hh_l0.dtype).take_along_dim(order.unsqueeze(-1), 1))
        return states.take_along_dim(order.argsort(1).unsqueeze(-1), 1)


def masked_mean(memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean (B, D) of memory (B, M, D) over the True positions of mask (B, M), zero if there are none."""
    weights = mask.to(memory.dtype)  # (B, M)
    return attend(weights / weights.sum(1, keepdim=True).clamp(min=1), memory)


def attend(weights: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Return the sum (B, D) of memory (B, M, D) with weights (B, M)."""
    return torch.bmm(weights.to(memory.dtype).unsqueeze(1), memory).squeeze(1)


def flatten_regions(regions: torch.Tensor, image_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one memory (B, K·R, D) of all images and its mask (B, K·R), from (B, K, R, D) and (B, K) bool."""
    return regions.flatten(1, 2), image_mask.repeat_interleave(regions.shape[2], 1)
