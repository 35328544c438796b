"""Means with 95 % intervals by the bootstrap. Whole groups (people) are drawn, because rows of one person are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LIMITS = (2.5, 97.5)  # percentiles
SEED = 5

Numbers = Sequence[float] | NDArray
Groups = Sequence[int] | Sequence[str] | NDArray | None


def interval(values: Numbers, groups: Groups = None) -> tuple[float, float, float]:
    """Mean of `values` (n,) and the ends of its 95 % interval.

    With `groups` (n,) whole groups are drawn with replacement, and a draw's mean weighs each value once per drawing of
    its group; without, single values are drawn. NaN means that a value does not exist: it is left out. Of none all
    three are NaN.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"Expected values (n,), n at least 1; got {numbers.shape}.")
    member = np.arange(len(numbers)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(member) != len(numbers):
        raise ValueError(f"Expected one group per value; got {len(member)} groups and {len(numbers)} values.")
    if not (there := ~np.isnan(numbers)).any():
        return (float("nan"),) * 3
    numbers, member = numbers[there], np.unique(member[there], return_inverse=True)[1]
    totals, sizes = np.bincount(member, numbers), np.bincount(member)
    count = len(sizes)
    drawn = np.random.default_rng(SEED).integers(count, size=(DRAWS, count))
    means = totals[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, LIMITS)
    return float(numbers.mean()), float(low), float(high)


def paired(a: Numbers, b: Numbers, groups: Groups = None) -> tuple[float, float, float]:
    """Mean of a - b and the ends of its 95 % interval; row i of `a` and of `b` belong to the same pair."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"Expected rows in pairs; got {first.shape} and {second.shape}.")
    return interval(first - second, groups)
