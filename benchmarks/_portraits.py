"""Whole portraits through the nodes, from scratch and with a style that was kept."""

from __future__ import annotations

from _figures import Figure
from _nodes import fuse, invert, invert_one, sample
from _subjects import Subject
from _timing import take_turns


def portrait_figures(subject: Subject, steps: int, rounds: int) -> list[Figure]:
    _, kept = invert(subject, steps)

    def first() -> None:
        content, style = invert(subject, steps)
        sample(fuse(subject.model, content, style), content, style)

    def second() -> None:
        content = invert_one(subject, subject.content, steps)
        sample(fuse(subject.model, content, kept), content, kept)

    times = take_turns({"first": first, "second": second}, rounds)
    name = f"second portrait with a kept style / first from scratch, {steps} steps"
    return [Figure(subject.name, name, times.ratio("second", "first"), 0.70)]
