"""Figures with their bounds, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Something measured, and the most or the least that it must be; with neither it is only reported."""

    subject: str
    name: str
    measured: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        if self.most is None and self.least is None:
            return None
        over = self.most is not None and self.measured > self.most
        under = self.least is not None and self.measured < self.least
        return not (over or under)

    @property
    def must(self) -> str:
        if self.most is not None and self.most == self.least:
            return f"{self.most:g}"
        return f"<= {self.most:g}" if self.most is not None else f">= {self.least:g}" if self.least is not None else ""

    def __str__(self) -> str:
        met = {None: "", True: "yes", False: "NO"}[self.met]
        return f"| {self.subject} | {self.name} | {self.measured:.4g}{self.unit} | {self.must} | {met} |"

    def record(self) -> dict[str, object]:
        return {**vars(self), "must": self.must, "met": self.met}


def exactly(subject: str, name: str, measured: float, expected: float) -> Figure:
    return Figure(subject, name, measured, most=expected, least=expected)


def table(figures: Sequence[Figure]) -> str:
    head = ["| on | figure | measured | must | met |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(str, figures)])
