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


def processor_time() -> float:
    """On the CPU, time that this process ran: on one thread, what the clock of an idle machine would show."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def take_turns(
    variants: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, now: Callable[[], float] = processor_time
) -> Times:
    """Run all variants ``rounds`` times after a round that warms up, every second round in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name in list(variants)[:: 1 if turn % 2 else -1]:
            gc.collect()
            begin = now()
            variants[name]()
            if turn:
                seconds[name].append(now() - begin)
    return Times(seconds)
