"""How time and memory grow with steps, tokens and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _figures import Figure
from _nodes import fuse, invert, sample
from _peak import can_measure, only_what_is_used, peak
from _subjects import Subject, demo
from _timing import take_turns


@dataclass
class Curve:
    """Time, bytes of both banks and peak memory at growing values of one quantity."""

    quantity: str
    values: tuple[int, ...]
    measured: dict[str, list[float]] = field(default_factory=dict)

    def exponent(self, name: str) -> float:
        """Slope of a straight line through the logarithms."""
        return float(np.polyfit(np.log(self.values), np.log(self.measured[name]), 1)[0])


def curves(rounds: int) -> list[Curve]:
    """Whole portraits on the demo model: inversion of both pictures and the way back, at the nodes' defaults."""
    small, sizes = demo(64), {side * side: demo(4 * side) for side in (32, 48, 64)}
    return [
        _curve("steps", {steps: (small, steps) for steps in (10, 20, 50)}, rounds),
        _curve("tokens", {tokens: (subject, 3) for tokens, subject in sizes.items()}, rounds),
        _curve("portraits", {count: (small.batch(count), 5) for count in (1, 2, 4)}, rounds),
    ]


def _curve(quantity: str, cases: Mapping[int, tuple[Subject, int]], rounds: int) -> Curve:
    curve = Curve(quantity, tuple(cases))
    runs: dict[str, Callable[[], object]] = {
        str(value): (lambda subject=subject, steps=steps: _portrait(subject, steps))
        for value, (subject, steps) in cases.items()
    }
    times = take_turns(runs, rounds)
    curve.measured["time"] = [times.median(name) for name in runs]
    curve.measured["banks"] = [float(run()) for run in runs.values()]
    if can_measure():
        with only_what_is_used():
            curve.measured["peak memory"] = [float(peak(run)) for run in runs.values()]
    return curve


def _portrait(subject: Subject, steps: int) -> int:
    """Bytes of both banks."""
    content, style = invert(subject, steps)
    sample(fuse(subject.model, content, style), content, style)
    return content.bytes + style.bytes


def growth_figures(found: list[Curve]) -> list[Figure]:
    return [
        Figure("demo model", f"exponent of {name} against {curve.quantity}", curve.exponent(name))
        for curve in found
        for name in curve.measured
    ]


def plot(found: list[Curve], path: Path) -> None:
    """A PNG with one panel for each quantity; everything in multiples of the smallest case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    picture = Picture((13, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(picture)
    for axes, curve in zip(picture.subplots(1, len(found)), found, strict=True):
        for (name, values), marker in zip(curve.measured.items(), "os^", strict=False):
            label = f"{name}, exponent {curve.exponent(name):.2f}"
            axes.plot(curve.values, np.array(values) / values[0], f"-{marker}", label=label)
        axes.set(xscale="log", yscale="log", xlabel=curve.quantity, xticks=curve.values)
        axes.set_xticklabels(map(str, curve.values))
        axes.set_yticks([1, 2, 3, 5, 10])
        axes.set_yticklabels(["1", "2", "3", "5", "10"])
        axes.minorticks_off()
        axes.set_ylabel("multiple of the smallest case")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path)
