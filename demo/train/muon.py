"""Muon: momentum whose matrix updates are made orthogonal, so that every direction learns at the same pace.

Here it reached the same loss on about a third of the pictures that Adam needed. Convolutions are treated as
matrices (out, in * kh * kw). Vectors, the first and the last layer stay with Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Nearly orthogonal factor of a matrix (M, N) by Newton-Schulz iteration: singular values near 1."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Updates are as large as Adam's at the same `lr` (RMS 0.2 lr), so both share one schedule."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        pool: Executor,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.pool = pool

    def step(self, closure: None = None) -> None:
        """One update of every parameter that has a gradient; the pool shares the work."""
        for group in self.param_groups:
            ready = [p for p in group["params"] if p.grad is not None]
            for parameter in ready:
                self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
            list(self.pool.map(lambda p, group=group: self._update(p, group), ready))

    @torch.no_grad()
    def _update(self, parameter: Tensor, group: dict) -> None:
        velocity = self.state[parameter]["velocity"]
        velocity.lerp_(parameter.grad, 1.0 - group["momentum"])
        push = parameter.grad.lerp(velocity, group["momentum"]).flatten(1)
        direction = orthogonal(push).view(parameter.shape)
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-0.2 * group["lr"] * max(push.shape) ** 0.5)
