"""Muon: momentum, made orthogonal, for weight matrices; Adam for everything else.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the step's size as in Liu et
al., "Muon is scalable for LLM training", 2025: 0.2 * sqrt(larger side), about Adam's, so that one rate serves
both. PyTorch's own Muon takes matrices alone; a convolution's kernel is one here, outputs by everything else.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from train.numerics import step_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration; singular values end between 0.7 and 1.2."""

ITERATIONS = 5
MOMENTUM = 0.95

SMALLEST = 16
"""Matrices with a shorter side are Adam's."""


class Muon(torch.optim.Optimizer):
    """``lr`` is the rate of both rules, ``betas`` are Adam's. State is complete: it saves and resumes."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        super().__init__(list(params), {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if weight.ndim >= 2 and min(weight.shape[0], weight[0].numel()) >= SMALLEST:
                    self._orthogonal(weight, group["lr"])
                else:
                    self._adam(weight, group["lr"], group["betas"])

    def _orthogonal(self, weight: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        state["mean"].lerp_(weight.grad, 1 - MOMENTUM)
        update = torch.lerp(weight.grad, state["mean"], MOMENTUM).flatten(1)  # type: ignore[arg-type]
        size = 0.2 * max(update.shape) ** 0.5
        weight.add_(orthogonal(update).view(weight.shape), alpha=-rate * size)

    def _adam(self, weight: Tensor, rate: float, betas: tuple[float, float]) -> None:
        state = self.state[weight]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["step"] = torch.zeros(())
        state["step"] += 1
        first, second = (1 - beta ** float(state["step"]) for beta in betas)
        state["mean"].lerp_(weight.grad, 1 - betas[0])
        state["square"].lerp_(weight.grad.square(), 1 - betas[1])  # type: ignore[union-attr]
        weight.addcdiv_(state["mean"] / first, (state["square"] / second).sqrt() + 1e-8, value=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """(M, N) -> the nearest matrix whose singular values are about 1, by Newton-Schulz in ``step_dtype``."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix.to(step_dtype(matrix.device))
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()
