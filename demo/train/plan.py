"""How a stage is trained: its size and rates, and who updates which weights."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .muon import Muon

HURRY = 3.0


@dataclass(frozen=True)
class Plan:
    """One stage of training. Learning rate: linear warm-up, then falling with the square root of the step,
    and to zero over the last `cooldown` steps."""

    name: str
    size: int  # pixels
    batch: int
    steps: int
    rate: float = 1e-3
    warmup: int = 150
    settle: int = 1500  # step at which the rate starts to fall
    cooldown: int = 0
    average: float = 0.998
    seed: int = 0

    def learning_rate(self, step: int) -> float:
        """Learning rate of 0-based `step`."""
        rate = self.rate * min(1.0, (step + 1) / self.warmup) * min(1.0, (self.settle / (step + 1)) ** 0.5)
        left = self.steps - step
        return rate * min(1.0, left / self.cooldown) if self.cooldown else rate


def optimizers(model: nn.Module, rate: float, pool: Executor) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the matrices inside the network, Adam for vectors, the first and the last layer.

    Parts that begin from nothing in a network that is trained already (`FRESH` of its class, if it has one) learn
    `HURRY` times as fast.
    """
    fresh = getattr(model, "FRESH", ())
    inner: tuple[list[Tensor], list[Tensor]] = ([], [])
    rest: tuple[list[Tensor], list[Tensor]] = ([], [])
    for name, parameter in model.named_parameters():
        kind = inner if parameter.ndim >= 2 and not name.startswith(model.OUTER) else rest
        kind[any(part in name for part in fresh)].append(parameter)
    groups = [
        [{"params": found, "pace": pace} for found, pace in zip(kind, (1.0, HURRY), strict=True) if found]
        for kind in (inner, rest)
    ]
    return Muon(groups[0], rate, pool), torch.optim.AdamW(groups[1], lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
