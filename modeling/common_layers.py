"""Layers that more than one architecture uses."""

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the softmax of scores over the True positions of a mask.

    Args:
        scores: (B, M) The attention scores.
        mask: (B, M) bool, False for padding.

    Returns:
        (B, M) weights that sum to one over the True positions. A row without them is all zero, so that an absent
        modality gives a zero vector instead of NaN or an average of padding.
    """
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(-1) * mask


class ContextAttention(nn.Module):
    """Attention guided by a learned vector: `h_i = tanh(W m_i + b)`, weights `softmax(h_i·q)` (CoMN, equations 1 to 8;
    HSAN)."""

    def __init__(self, memory_size: int):
        super().__init__()
        self.memory_proj = nn.Linear(memory_size, memory_size)
        self.query = nn.Parameter(torch.empty(memory_size))

    def forward(self, memory: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool: return the vector (B, D) and the weights (B, M)."""
        weights = masked_softmax(torch.tanh(self.memory_proj(memory)) @ self.query, mask)
        return attend(weights, memory), weights


class GuidedProjection(nn.Linear):
    """A projection of `GuidedAttention`. It is a class of its own so that weight initialisation can recognise it."""


class GuidedAttention(nn.Module):
    """Attention to a memory, guided by a vector that may come from the other modality (CoMN, equations 9 to 16).

    With memory slots `m_i` and a guide `v`:

    - `"scalar"`: `score_i = tanh(w·[m_i; v] + b)`. Because `tanh` is monotonic, the guide can sharpen or flatten the
      distribution but cannot change the order of the slots, and a slot weighs at most e² = 7.4 times as much as
      another.
    - `"additive"`: `score_i = u·tanh(W[m_i; v] + b)`, which does not have these two limits.
    """

    def __init__(self, memory_size: int, guide_size: int, scoring: Literal["scalar", "additive"]):
        super().__init__()
        hidden_size = 1 if scoring == "scalar" else memory_size
        # W[m; v] = W_m m + W_v v: the part of the guide is computed once per post, not once per slot.
        self.memory_proj = GuidedProjection(memory_size, hidden_size)
        self.guide_proj = GuidedProjection(guide_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False) if scoring == "additive" else nn.Identity()

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool and guide (B, G): return vector (B, D) and weights (B, M)."""
        hidden = torch.tanh(self.memory_proj(memory) + self.guide_proj(guide).unsqueeze(1))  # (B, M, H)
        weights = masked_softmax(self.score(hidden).squeeze(-1), mask)  # (B, M)
        return attend(weights, memory), weights


class ProjectedAttentionWeight(nn.Linear):
    """W_k, W_q or w of `ProjectedAttention`. It is a class of its own so that `_init_weights` can recognise it."""


class ProjectedAttention(nn.Module):
    """Attention as in the code of MIMN's authors (github.com/xunan0812/MIMN, layers/attention.py).

    With keys `k_i = W_k m_i` and a query `q = W_q v`, the result is `W_o Σ α_i k_i + b_o`: the values are the keys.

    - `"scalar"`, the code's "mlp": `score_i = tanh(w·[k_i; q])`, with the limits that `GuidedAttention` describes.
    - `"additive"`: `score_i = w·tanh(k_i + q)`.
    - `"bilinear"`, the code's "bi_linear": `score_i = k_i·W q`.

    The authors' code takes the softmax over padding too, up to the longest memory of the batch, so that its result
    depends on the batch. Here padding has no weight, unless a fixed length is given. The result for an empty memory is
    `b_o`.
    """

    def __init__(self, size: int, scoring: Literal["scalar", "additive", "bilinear"] = "scalar"):
        super().__init__()
        self.scoring = scoring
        self.key_proj = ProjectedAttentionWeight(size, size, bias=False)
        self.query_proj = ProjectedAttentionWeight(size, size, bias=False)
        if scoring == "bilinear":
            self.score = nn.Linear(size, size, bias=False)
        else:
            self.score = ProjectedAttentionWeight(2 * size if scoring == "scalar" else size, 1, bias=False)
        self.output_proj = nn.Linear(size, size)

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor, length: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool and guide (B, D): return vector (B, D) and weights (B, M).

        With a `length`, the memory is padded to so many slots. The weights of the padding, whose slots are zero, are
        not returned, so that those of a post sum to less than one.
        """
        keys = self.key_proj(memory)  # (B, M, D)
        query = self.query_proj(guide)  # (B, D)
        if length is not None:  # one slot stands for all of the padding
            padding = (length - mask.sum(1, keepdim=True)).clamp(min=0)  # (B, 1)
            keys, mask = F.pad(keys, (0, 0, 0, 1)), torch.cat([mask, padding > 0], 1)
        # This is w·[k; q] = w_k·k + w_q·q. The last bit of a matrix product with one column would depend on the memory
        # address of the weights, so that a loaded model would not give exactly the logits of the saved one.
        if self.scoring == "scalar":
            key_weight, query_weight = self.score.weight[0].chunk(2)
            scores = torch.tanh((keys * key_weight).sum(-1) + (query * query_weight).sum(-1, keepdim=True))  # (B, M)
        elif self.scoring == "bilinear":
            scores = (keys * self.score(query).unsqueeze(1)).sum(-1)
        else:
            scores = (torch.tanh(keys + query.unsqueeze(1)) * self.score.weight[0]).sum(-1)  # (B, M)
        if length is not None:
            scores = torch.cat([scores[:, :-1], scores[:, -1:] + padding.log()], 1)
        weights = masked_softmax(scores, mask)
        return self.output_proj(attend(weights, keys)), weights[:, : memory.shape[1]]


class BilinearAttention(nn.Module):
    """Attention with `score_i = tanh(m_i·W v + b)` for memory slots `m_i` and a guide `v` (IAN, equation 7)."""

    def __init__(self, size: int):
        super().__init__()
        self.guide_proj = nn.Linear(size, size, bias=False)
        self.bias = nn.Parameter(torch.empty(1))

    def forward(
        self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read memory (B, M, D) with mask (B, M) bool and guide (B, D): return vector (B, D) and weights (B, M)."""
        scores = torch.tanh((memory * self.guide_proj(guide).unsqueeze(1)).sum(-1) + self.bias)
        weights = masked_softmax(scores, mask)
        return attend(weights, memory), weights


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over the processes of a distributed run, and its gradient in the backward pass.

    `torch.distributed.nn.functional.all_reduce` does the same but is deprecated since PyTorch 2.13, and what replaces
    it there is private.
    """

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.apply(gradient)


class FeatureNorm(nn.BatchNorm1d):
    """Standardise features by the mean and deviation that each has over the training posts.

    This is batch normalisation without weights. Positions where the mask is False are not counted and become zero.
    The statistics of a distributed run are over the batches of all processes.

    Most features of a pretrained or rectified encoder have a large part that is the same for all images. Without
    standardisation this part hides the differences between regions, so that attention stays even and gates learn
    slowly.
    """

    def __init__(self, size: int):
        super().__init__(size, affine=False)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Standardise features (..., D) where mask (...) bool is True: return (..., D)."""
        if self.training and not torch.compiler.is_compiling():
            shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
            count = _SumOverProcesses.apply(mask.sum()) if shared else mask.sum()
            # A single vector does not have a deviation. Then training uses the running statistics too.
            if count > 1:
                values = features[mask].to(self.running_mean.dtype)  # (N, D)
                normed = torch.zeros_like(features)
                values = self._norm_over_processes(values, count) if shared else super().forward(values)
                normed[mask] = values.to(features.dtype)
                return normed
        scale = (self.running_var + self.eps).rsqrt()
        return ((features - self.running_mean) * scale).to(features.dtype) * mask.unsqueeze(-1)

    def _norm_over_processes(self, values: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Standardise values (N, D) of this process, where N may be zero: return (N, D).

        Args:
            count: () The number of vectors in all processes.
        """
        mean = _SumOverProcesses.apply(values.sum(0)) / count  # (D,)
        variance = _SumOverProcesses.apply((values - mean).square().sum(0)) / count
        with torch.no_grad():  # as in BatchNorm
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (values - mean) * (variance + self.eps).rsqrt()


class MaskedLSTM(nn.Module):
    """An LSTM that reads only the True positions of a mask, in one or both directions.

    It equals `nn.LSTM` over a packed sequence, which `torch.export` and `torch.compile` do not support. Each direction
    is an LSTM of its own. It reads the positions in an order in which padding comes last, and the states of padding
    are dropped. The True positions may be anywhere.
    """

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True) if bidirectional else None

    def forward(self, sequence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states of a sequence (B, M, D) with mask (B, M) bool, zero where the mask is False.

        They are (B, M, H) in one direction and (B, M, 2H) in both, the forward half first.
        """
        length = mask.shape[1]
        position = torch.arange(length, device=mask.device)
        states = self._read(self.forward_lstm, sequence, torch.where(mask, position, length + position))
        if self.backward_lstm is not None:
            backward = self._read(self.backward_lstm, sequence, torch.where(mask, -position, length + position))
            states = torch.cat([states, backward], -1)
        return states * mask.unsqueeze(-1)

    @staticmethod
    def _read(lstm: nn.LSTM, sequence: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
        """Return the states of an LSTM that reads the positions of each row in the order of their rank (B, M)."""
        order = rank.argsort(1)
        # Autocast is off, because many CPUs have an LSTM only in float32, and rounding errors would add up.
        with torch.autocast(sequence.device.type, enabled=False):
            states, _ = lstm(sequence.to(lstm.weight_hh_l0.dtype).take_along_dim(order.unsqueeze(-1), 1))
        return states.take_along_dim(order.argsort(1).unsqueeze(-1), 1)


def last_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the final state (B, 2H) of a BiLSTM: the forward half at the last True position of the mask, the backward
    half at the first.

    Args:
        states: (B, L, 2H) The states at every position, zero where the mask is False.
        mask: (B, L) bool The mask.
    """
    forward, backward = states.chunk(2, -1)
    first = mask.long().argmax(1)  # (B,)
    return torch.cat([last_state(forward, mask), _state_at(backward, first)], -1)


def last_state(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the states (B, L, H), zero where the mask (B, L) is False, at its last True position: (B, H)."""
    return _state_at(states, (torch.arange(mask.shape[1], device=mask.device) * mask).argmax(1))


def _state_at(states: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    return states.take_along_dim(position[:, None, None], 1).squeeze(1)


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
