"""Trade-off curves, and what one method's curve says at another method's structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .statistics import DRAWS, LIMITS, SEED
from .study import Values


def at_structure(curve: Sequence[Values], structure: float, measure: str, weights: NDArray | None = None) -> float:
    """The curve's `measure` at a mean `structure`, by linear interpolation between its rows; nan outside of them.

    `weights` (n,) count the pairs of a bootstrap draw.
    """
    points = sorted(
        (np.average(v["structure"], weights=weights), np.average(v[measure], weights=weights)) for v in curve
    )
    at, value = zip(*points, strict=True)
    return float(np.interp(structure, at, value, left=np.nan, right=np.nan))


def gain(
    curve: Sequence[Values], other: Values, measure: str, people: NDArray[np.int64]
) -> tuple[float, float, float] | None:
    """How much less distance the curve has than `other` where it keeps as much structure: mean and 95 % interval.

    People are drawn with replacement, as in `statistics`. None if the curve does not reach that structure.
    """
    member = np.unique(people, return_inverse=True)[1]
    count = int(member.max()) + 1

    def difference(weights: NDArray | None) -> float:
        structure = float(np.average(other["structure"], weights=weights))
        own = at_structure(curve, structure, measure, weights)
        return float(np.average(other[measure], weights=weights)) - own

    mean = difference(None)
    if np.isnan(mean):
        return None
    drawn = np.random.default_rng(SEED).integers(count, size=(DRAWS // 4, count))
    draws = [difference(np.bincount(row, minlength=count)[member].astype(float)) for row in drawn]
    low, high = np.nanpercentile(draws, LIMITS)
    return mean, float(low), float(high)


def monotone(values: Sequence[float], rising: bool, slack: float = 0.0) -> bool:
    """Whether a sequence rises (or falls), allowing steps back of at most `slack`."""
    steps = np.diff(values) if rising else -np.diff(values)
    return bool((steps >= -slack).all())
