"""Whole portraits through the nodes, from scratch and with a style that was kept.

A style that is kept was inverted by itself, as the workflow of the style library does: 3N+2 evaluations for the first
portrait and 2N+1 for the next. Content + Style Inversion makes the first portrait cheaper by its batch of two, by as
much as a batch saves on the machine; against that, the second one has less to gain. Both are reported.
"""

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
        figure("the style inverted for the library", "library", 0.70),
        figure("both pictures in one batch", "first"),
    ]
