"""The losses over embeddings, computed by hand."""

import math

import pytest
import torch

from mmsent.modeling.common_losses import embedding_loss, ratio_contrastive_loss, supervised_contrastive_loss

CONTRASTIVE = {"supcon": lambda f, y: supervised_contrastive_loss(f, y, 0.07), "ratio": ratio_contrastive_loss}
contrastive_losses = pytest.mark.parametrize("loss", CONTRASTIVE.values(), ids=CONTRASTIVE)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supervised_contrastive_loss_is_the_mean_over_positives(temperature):
    torch.manual_seed(0)
    features, labels = torch.randn(9, 4), torch.tensor([0, 0, 1, 1, 1, 2, 0, 1, 1])
    unit = torch.nn.functional.normalize(features, dim=1)
    terms = []
    for i in range(9):
        positives = [p for p in range(9) if p != i and labels[p] == labels[i]]
        total = sum(math.exp(unit[i] @ unit[a] / temperature) for a in range(9) if a != i)
        if positives:
            logs = [math.log(math.exp(unit[i] @ unit[p] / temperature) / total) for p in positives]
            terms.append(-sum(logs) / len(logs))
    loss = supervised_contrastive_loss(features, labels, temperature)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_ratio_contrastive_loss():
    """Vectors at 0°, 60°, 180°: C = (1 + cos) / 2 is 0.75, 0 and 0.25; a cosine of -1 does not give NaN."""
    features = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)], [-1.0, 0.0]])
    loss = ratio_contrastive_loss(features, torch.tensor([1, 1, 0]))
    assert loss.item() == pytest.approx(-math.log(0.75 / (0.75 + 0.25)), rel=1e-5)


@contrastive_losses
def test_contrastive_losses_are_finite_without_any_pair(loss):
    features = torch.randn(3, 4, requires_grad=True)
    value = loss(features, torch.tensor([0, 1, 2]))
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()


@contrastive_losses
def test_contrastive_losses_draw_a_label_together(loss):
    labels = torch.tensor([0, 0, 1, 1])
    apart, together = torch.eye(4), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert loss(together, labels) < loss(apart, labels)


# Two labels in the plane, and the point p = (1, 2).
TABLE = torch.tensor([[0.5, 0.0], [0.0, -3.0]])
POINT = torch.tensor([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("mse", (0.5**2 + 2**2) / 2, (1**2 + 5**2) / 2),
        ("cosine", -1 / math.sqrt(5), 2 / math.sqrt(5)),
        ("hinge", (0.5 + 1) / 2, (1 + 7) / 2),  # of label 0: max(0, 1 - 0.5 · 1), max(0, 1 - 0 · 2)
        ("rank_hinge", 0.0, 0.1 + 2 + 1),  # unit vectors (1, 0), (0, -1): of label 0 max(0, 0.1 - 1 - 2)
    ],
)
def test_embedding_losses(kind, first, second):
    """The point with label 0, with label 1, and a batch of both, whose loss is the mean."""
    for labels, expected in (([0], first), ([1], second), ([0, 1], (first + second) / 2)):
        points = POINT.expand(len(labels), 2)
        assert embedding_loss(points, TABLE, torch.tensor(labels), kind, 0.1).item() == pytest.approx(expected)


def test_rank_hinge_is_a_sum_over_the_other_labels():
    table = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    point = torch.tensor([[0.2, 0.5]])
    # t·p: 0.2, 0.5, -0.2; margin 0.5: 0.5 - 0.2 + 0.5 and 0.5 - 0.2 - 0.2
    assert embedding_loss(point, table, torch.tensor([0]), "rank_hinge", 0.5).item() == pytest.approx(0.8 + 0.1)
