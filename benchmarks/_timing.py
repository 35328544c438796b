"""Times of variants that take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

ROUNDS = 5  # counted ones; one more warms up


@dataclass(frozen=True)
class Times:
    """Seconds of every variant, round by round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """Median over the rounds of how much longer ``name`` took than ``other`` in the same round."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return median(one / two for one, two in pairs)


def take_turns(variants: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> Times:
    """Run all variants ``rounds`` times after a round that warms up, every second round in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name in list(variants)[:: 1 if turn % 2 else -1]:
            gc.collect()
            begin = _now()
            variants[name]()
            if turn:
                seconds[name].append(_now() - begin)
    return Times(seconds)


def _now() -> float:
    """On the CPU, processor time: torch runs on one thread here, so it is what an idle machine's clock would show."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
