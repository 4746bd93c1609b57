"""The layers that several architectures use."""

import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmsent.modeling.common_layers import (
    FeatureNorm,
    GuidedAttention,
    MaskedLSTM,
    masked_mean,
    masked_softmax,
)

rows = st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=12)


@given(rows)
def test_masked_softmax_is_the_softmax_over_the_mask(row):
    scores = torch.tensor([[score for score, _ in row]], requires_grad=True)
    mask = torch.tensor([[is_visible for _, is_visible in row]])
    weights = masked_softmax(scores, mask)
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(weights[mask], scores[mask].softmax(-1))
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_scalar_scoring_cannot_reorder_or_select_a_slot(seed):
    """tanh is monotonic and lies between -1 and 1."""
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


def test_additive_scoring_can_reorder_and_select_a_slot():
    attention = GuidedAttention(2, 2, "additive")
    with torch.no_grad():
        attention.memory_proj.weight.copy_(4 * torch.eye(2))
        attention.memory_proj.bias.fill_(-4.0)  # a hidden unit is active if memory and guide both are
        attention.guide_proj.weight.copy_(4 * torch.eye(2))
        attention.score.weight.fill_(8.0)
    memory, mask = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]), torch.ones(1, 2, dtype=torch.bool)
    first = attention(memory, mask, torch.tensor([[1.0, -1.0]]))[1][0]
    second = attention(memory, mask, torch.tensor([[-1.0, 1.0]]))[1][0]
    # The guide selects the slot that is like it, in both cases.
    assert first[0] / first[1] > math.e**2
    assert second[1] / second[0] > math.e**2


# ------------------------------------------------------------------------------------------------ recurrence and means


def packed(layer: MaskedLSTM, sequence: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Return the states of PyTorch's bidirectional LSTM with these weights over the packed sequence."""
    reference = torch.nn.LSTM(sequence.shape[-1], layer.forward_lstm.hidden_size, batch_first=True, bidirectional=True)
    backward = {f"{name}_reverse": value for name, value in layer.backward_lstm.state_dict().items()}
    reference.load_state_dict(layer.forward_lstm.state_dict() | backward)
    steps = pack_padded_sequence(sequence, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(reference(steps)[0], batch_first=True, total_length=sequence.shape[1])[0]


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 3))
def test_the_masked_lstm_equals_the_packed_one(lengths, seed):
    torch.manual_seed(seed)
    layer, sequence = MaskedLSTM(3, 4, bidirectional=True), torch.randn(len(lengths), 7, 3)
    mask = torch.arange(7) < torch.tensor(lengths).unsqueeze(1)
    torch.testing.assert_close(layer(sequence, mask), packed(layer, sequence, lengths), rtol=0, atol=1e-6)


def test_the_masked_lstm_skips_holes():
    layer, sequence = MaskedLSTM(3, 4, bidirectional=True), torch.randn(2, 6, 3, requires_grad=True)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]).bool()
    states = layer(sequence, mask)
    expected = packed(layer, sequence[:1, [1, 3, 4]], [3])
    torch.testing.assert_close(states[:1, [1, 3, 4]], expected, rtol=0, atol=1e-6)
    assert (states[~mask] == 0).all()
    states.square().sum().backward()
    assert (sequence.grad[~mask] == 0).all()
    assert (sequence.grad[mask] != 0).all()


def test_one_direction_is_the_first_half_of_two():
    torch.manual_seed(0)
    two, one = MaskedLSTM(3, 4, bidirectional=True), MaskedLSTM(3, 4, bidirectional=False)
    one.load_state_dict({name: value for name, value in two.state_dict().items() if "backward" not in name})
    sequence, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    torch.testing.assert_close(one(sequence, mask), two(sequence, mask)[..., :4])


def test_the_masked_lstm_is_exact_under_autocast():
    layer, sequence = MaskedLSTM(3, 100, bidirectional=True), torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    expected = layer(sequence, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(sequence, mask), expected)


def test_masked_mean():
    memory = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert masked_mean(memory, mask).tolist() == [[2, 3], [0, 0]]


# ----------------------------------------------------------------------------------------------- standardised features


def test_features_are_standardized_over_the_mask():
    torch.manual_seed(0)
    features, mask = 5 + 3 * torch.randn(4, 6, 2), torch.rand(4, 6) < 0.6
    norm, values = FeatureNorm(2), features[mask]
    in_training = norm(features, mask)
    expected = (values - values.mean(0)) / values.std(0, unbiased=False)
    torch.testing.assert_close(in_training[mask], expected, atol=1e-3, rtol=1e-3)
    assert (in_training[~mask] == 0).all()
    assert not torch.equal(norm.eval()(features, mask), in_training)  # one step of the running statistics
    for _ in range(100):
        norm.train()(features, mask)
    expected = (values - values.mean(0)) / values.std(0)
    torch.testing.assert_close(norm.eval()(features, mask)[mask], expected, atol=1e-3, rtol=1e-3)
    assert (norm(features, mask)[~mask] == 0).all()
    assert list(norm.parameters()) == []


def test_fewer_than_two_vectors_are_standardized_by_the_running_statistics():
    norm, features = FeatureNorm(2), torch.randn(2, 1, 2)
    for mask in (torch.tensor([[True], [False]]), torch.zeros(2, 1, dtype=torch.bool)):
        torch.testing.assert_close(norm(features, mask), features * mask.unsqueeze(-1), atol=1e-4, rtol=1e-4)


def _norm_in_a_process(rank, file, features, masks, weights, queue):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    norm, own = FeatureNorm(3), features[rank].clone().requires_grad_()
    normed = norm(own, masks[rank])
    (normed * weights[rank]).sum().backward()
    queue.put((rank, [t.detach().tolist() for t in (normed, own.grad, norm.running_mean, norm.running_var)]))
    dist.destroy_process_group()


@pytest.mark.parametrize("counts", [(4, 2), (5, 0), (1, 1), (1, 0)])
def test_features_of_two_processes_are_standardized_together(tmp_path, counts):
    """Values, gradients and running statistics are those of one process with all vectors; a process may have none."""
    torch.manual_seed(0)
    features, weights = 3 * torch.randn(2, 1, 5, 3) + 7, torch.randn(2, 1, 5, 3)
    masks = torch.tensor([[[place < count for place in range(5)]] for count in counts])  # (2, 1, 5)
    norm, whole = FeatureNorm(3), features.clone().requires_grad_()
    normed = norm(whole, masks)
    (normed * weights).sum().backward()

    context = torch.multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [
        context.Process(target=_norm_in_a_process, args=(rank, tmp_path / "store", features, masks, weights, queue))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = dict(queue.get() for _ in range(2))
    for process in processes:
        process.join()
    for rank in range(2):
        expected = [normed[rank], whole.grad[rank], norm.running_mean, norm.running_var]
        for value, expected_value in zip(results[rank], expected, strict=True):
            torch.testing.assert_close(torch.tensor(value), expected_value.detach(), rtol=1e-5, atol=1e-5)
