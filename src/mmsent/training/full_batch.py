"""Minimise the loss over all training posts at once with L-BFGS, which finds the optimum of a logistic regression."""

from collections.abc import Callable

import torch

ITERATIONS = 20  # per step, and so per epoch


class FullBatchLBFGS(torch.optim.LBFGS):
    """L-BFGS with a line search, which computes the loss of the whole batch again at every point that it tries.

    The objective is `loss + λ/2 · Σ w²` over the weights w whose group has the `weight_decay` λ; Trainer's groups
    leave out biases. This is scikit-learn's objective with C = 1 / (λN) for N posts of three classes or more.

    Args:
        groups: The parameter groups of another optimizer.
        compute_loss: Compute the loss of the batch, and add its gradients to those of the parameters.
    """

    def __init__(self, groups: list[dict], compute_loss: Callable[[], torch.Tensor]):
        self.decays = [(weight, group["weight_decay"]) for group in groups for weight in group["params"]]
        self.compute_loss = compute_loss
        weights = [weight for weight, _ in self.decays]
        super().__init__(weights, lr=1.0, max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def step(self, closure: None = None) -> torch.Tensor:
        return super().step(self.objective)

    def objective(self) -> torch.Tensor:
        """Return the objective, and leave its gradients in the parameters."""
        self.zero_grad()
        loss = self.compute_loss()
        for weight, decay in self.decays:
            if decay:
                loss = loss + decay / 2 * weight.detach().square().sum()
                weight.grad.add_(weight.detach(), alpha=decay)
        return loss
