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

    def library() -> None:
        style = invert_one(subject, subject.style, steps)
        content = invert_one(subject, subject.content, steps)
        sample(fuse(subject.model, content, style), content, style)

    times = take_turns({"first": first, "second": second, "library": library}, rounds)
    def figure(name: str, other: str, most: float | None = None) -> Figure:
        name = f"second portrait with a kept style / first, {steps} steps: first with {name}"
        return Figure(subject.name, name, times.ratio("second", other), most)

    return [
        figure("both pictures in one batch", "first", 0.70),
        figure("the style inverted for the library", "library"),
    ]
