import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.layers import GuidedAttention, attend, masked_softmax

rows = st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=12)


@given(rows)
def test_masked_softmax_is_softmax_over_what_is_there(row):
    scores = torch.tensor([[score for score, _ in row]], requires_grad=True)
    mask = torch.tensor([[there for _, there in row]])
    weights = masked_softmax(scores, mask)
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(weights[mask], scores[mask].softmax(-1))
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


def test_masked_softmax_of_nothing_is_zero():
    assert masked_softmax(torch.randn(1, 4), torch.zeros(1, 4, dtype=torch.bool)).tolist() == [[0, 0, 0, 0]]


def test_attend_is_the_weighted_sum():
    weights, memory = torch.rand(2, 3), torch.randn(2, 3, 4)
    want = torch.stack([sum(weights[b, m] * memory[b, m] for m in range(3)) for b in range(2)])
    torch.testing.assert_close(attend(weights, memory), want)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_scalar_scoring_can_neither_reorder_nor_single_out(seed):
    """tanh grows with its argument and stays within (-1, 1)."""
    torch.manual_seed(seed)
    attention, memory = GuidedAttention(4, 3, "scalar"), 3 * torch.randn(1, 6, 4)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    mask = torch.ones(1, 6, dtype=torch.bool)
    order = (memory @ attention.memory_proj.weight[0]).argsort()[0]
    for guide in torch.randn(5, 1, 3):
        weights = attention(memory, mask, guide)[1][0].detach()
        assert (weights[order].diff() >= -1e-6).all()
        assert weights.max() / weights.min() <= math.e**2 + 1e-3


def test_additive_scoring_can_reorder_and_single_out():
    attention = GuidedAttention(2, 2, "additive")
    with torch.no_grad():
        attention.memory_proj.weight.copy_(4 * torch.eye(2))
        attention.memory_proj.bias.fill_(-4.0)  # a hidden unit is on where memory and guide both are
        attention.guide_proj.weight.copy_(4 * torch.eye(2))
        attention.score.weight.fill_(8.0)
    memory, mask = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]), torch.ones(1, 2, dtype=torch.bool)
    first = attention(memory, mask, torch.tensor([[1.0, -1.0]]))[1][0]
    second = attention(memory, mask, torch.tensor([[-1.0, 1.0]]))[1][0]
    # the slot that the guide asks for is preferred, both ways round
    assert first[0] / first[1] > math.e**2
    assert second[1] / second[0] > math.e**2
