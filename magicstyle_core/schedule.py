"""Noise schedules in the variance-exploding form ``x = x0 + sigma * eps``.

The host passes latents in this form; papers use ``z = sqrt(a) x0 + sqrt(1 - a) eps``. The two differ by the
factor ``sqrt(a) = 1 / sqrt(1 + sigma^2)``, applied only here. Inversion runs through ascending sigmas that
begin at 0; sampling runs through the same sigmas flipped.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from torch import Tensor

# Sigmas travel through float32 and back, and through devices; neighbours on a 1000-step schedule differ by
# more than 0.3 percent, so this finds the same step and never a neighbour.
SIGMA_TOLERANCE = 1e-3


def vp_from_ve(x: Tensor, sigma: Tensor) -> Tensor:
    """Papers' form of a latent: what the network sees, of about unit variance at every sigma."""
    return x / (1 + sigma * sigma).sqrt()


def ve_from_vp(z: Tensor, sigma: Tensor) -> Tensor:
    """Inverse of :func:`vp_from_ve`."""
    return z * (1 + sigma * sigma).sqrt()


def ascending(sigmas: Tensor) -> Tensor:
    """Inversion schedule ``(N+1,)`` from a sampling schedule that falls to 0.

    Raises ``ValueError`` if the sigmas do not fall strictly, or do not end at 0.
    """
    up = sigmas.flip(0)
    if len(up) < 2 or up[0] != 0 or not bool((up.diff() > 0).all()):
        raise ValueError(
            f"Inversion needs sigmas that fall strictly to 0; got {format_sigmas(sigmas)}. "
            "Choose another scheduler or fewer steps."
        )
    return up


def nearest_step(sigmas: Tensor, sigma: float) -> int:
    """Index, 1 to N, of the entry of the ascending ``sigmas (N+1,)`` that is nearest to ``sigma`` > 0 in log sigma."""
    values = sigmas.tolist()
    above = bisect_left(values, sigma)
    low, high = max(above - 1, 1), min(above, len(values) - 1)
    return low if sigma * sigma < values[low] * values[high] else high


def find_step(sigmas: Tensor, sigma: float) -> int | None:
    """Index of ``sigma`` in the ascending ``sigmas (N+1,)``, or None if no entry is within tolerance."""
    if sigma <= 0:
        return 0 if sigma == 0 and sigmas[0] == 0 else None
    nearest = nearest_step(sigmas, sigma)
    return nearest if abs(math.log(float(sigmas[nearest]) / sigma)) < SIGMA_TOLERANCE else None


def format_sigmas(sigmas: Tensor) -> str:
    """``14.61, 9.72, ... 0.03, 0 (21 values)``: short enough for an error message."""
    values = [f"{value:.4g}" for value in sigmas.tolist()]
    shown = values if len(values) <= 6 else [*values[:3], "...", *values[-2:]]
    return f"{', '.join(shown)} ({len(values)} values)"


@dataclass(frozen=True)
class SigmaWindow:
    """Part of the schedule in which a patch acts: ``end < sigma <= start``.

    Half open, so that windows that share a border never act twice and ``start == end`` is empty.
    """

    start: float = math.inf
    end: float = 0.0

    def __contains__(self, sigma: object) -> bool:
        return isinstance(sigma, float) and self.end < sigma <= self.start
