"""Bounds: a figure, what it must be, and whether it is: met, missed, or undecided.

A quick run has few pairs. Where its interval reaches over the bound, the bound is undecided: neither a miss nor a
proof. The whole run decides by the mean, or by the end of the interval where the bound is one of certainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["met", "missed", "undecided"]


class Found(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Bound:
    """What was measured, in words and as numbers, what it must be, and whether it is."""

    figure: str
    measured: str
    bound: str
    verdict: Verdict
    found: Found | None = None

    def __str__(self) -> str:
        return f"| {self.figure} | {self.measured} | {self.bound} | {SAID[self.verdict]} |"


SAID: dict[Verdict, str] = {"met": "met", "missed": "**missed**", "undecided": "undecided"}


@dataclass(frozen=True)
class Judge:
    """Tells of figures whether they keep their bounds; `form` is the format of the numbers."""

    quick: bool = False

    def at_least(self, figure: str, found: tuple[float, float, float], least: float, form: str = ".2f") -> Bound:
        """The mean, by the interval in a quick run."""
        mean, low, high = found
        return self._judged(figure, found, f">= {least:{form}}", form, mean >= least, low < least <= high)

    def at_most(self, figure: str, found: tuple[float, float, float], most: float, form: str = ".2f") -> Bound:
        """The mean, by the interval in a quick run."""
        mean, low, high = found
        return self._judged(figure, found, f"<= {most:{form}}", form, mean <= most, low <= most < high)

    def surely_above(self, figure: str, found: tuple[float, float, float], least: float, form: str = ".2f") -> Bound:
        """The lower end of the interval."""
        _, low, high = found
        return self._judged(figure, found, f"surely > {least:{form}}", form, low > least, low <= least < high)

    def maybe_at_most(self, figure: str, found: tuple[float, float, float], most: float, form: str = ".2f") -> Bound:
        """The lower end of the interval: it is not sure that the figure is above."""
        return self._judged(figure, found, f"not surely > {most:{form}}", form, found[1] <= most, False)

    def _judged(
        self, figure: str, found: tuple[float, float, float], bound: str, form: str, met: bool, reaches_over: bool
    ) -> Bound:
        mean, low, high = found
        unsure = self.quick and (reaches_over or mean != mean)  # NaN: no pair of a short run has such a number
        verdict: Verdict = "undecided" if unsure else "met" if met else "missed"
        measured = f"{mean:{form}} ({low:{form}} to {high:{form}})"
        return Bound(figure, measured, bound, verdict, Found(*found))


def decided(figure: str, measured: str, bound: str, met: bool) -> Bound:
    """A bound without chance."""
    return Bound(figure, measured, bound, "met" if met else "missed")


def closing_lines(bounds: list[Bound]) -> list[str]:
    """A line for every bound that fell short, and for every one that is undecided."""
    return [
        f"{b.verdict}: {b.figure}: {b.measured}, must be {b.bound}"
        for verdict in ("missed", "undecided")
        for b in bounds
        if b.verdict == verdict
    ]
