"""The study of stylization, as `quality.py` runs it: its jobs, its bounds, its tables and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from demo.network import Network
from demo.render.fields import Field

from . import photographs
from .bounds import Bound, Judge
from .budget import Budget
from .classifiers import train
from .faces import Recognizer
from .instruments import recognition, reconstruction
from .methods import Row, dials, rows
from .pairs import IDENTITIES, Part, pairs
from .photographs import Photographs
from .plot import Point, tradeoff
from .report import (
    DEFAULT,
    FIRST,
    Results,
    default_bounds,
    dial_bounds,
    photograph_bounds,
    record,
    style_bounds,
    table,
)
from .sheet import sheet
from .study import Study
from .workers import Job

SETS = ("misaligned", "aligned")
GHOSTS = 6  # pairs of the small sheet


@dataclass(frozen=True)
class Options:
    """What is measured, and where it goes."""

    out: Path
    weights: Path
    size: int
    steps: int
    part: Part
    budget: Budget


@dataclass(eq=False)
class Stylization:
    """The study of stylization: rows of methods on pairs, the default on photographs, and the instruments."""

    options: Options

    @cached_property
    def study(self) -> Study:
        options = self.options
        count = max(options.budget.main, options.budget.other)
        return Study(
            Network.load(options.weights),
            pairs(options.size, count, options.part),
            train(64, options.out, options.part),
            options.out / "rows",
            options.steps,
            options.part,
            Recognizer(),
        )

    @cached_property
    def photographs(self) -> Photographs:
        study, options = self.study, self.options
        return Photographs(
            study.network, options.size, study.store, study.recognizer, options.budget.styles, options.steps
        )

    @cached_property
    def table(self) -> list[Row]:
        return [row for row in rows() if any(self._pairs(row, references) for references in SETS)]

    @property
    def compared(self) -> list[Row]:
        """The first default and the default."""
        return [row for name in (FIRST, DEFAULT) for row in self.table if row.name == name]

    def jobs(self) -> list[Job]:
        """Those that take longest first, so that no process is left with one at the end."""
        found = []
        for references in SETS:
            for group in range(len(self.study.groups())):
                first = group * IDENTITIES
                chosen = [row for row in self.table if self._pairs(row, references) > first]
                if chosen:
                    what = f"{references}, pairs {first + 1} to {first + IDENTITIES}: {len(chosen)} rows"
                    found.append((len(chosen), Job(what, measure_group, (chosen, references, group))))
        found.sort(key=lambda job: -job[0])
        shown = [Job(f"photographs, {row.name}", measure_photographs, (row,)) for row in self.compared]
        return [*(job for _, job in found), *shown, Job("codec, inversion, recognizer", measure_instruments)]

    def results(self) -> Results:
        """All rows that were measured."""
        return {
            (row.name, references): self.study.measure(row, references, count)
            for references in SETS
            for row in self.table
            if (count := self._pairs(row, references))
        }

    def instruments(self) -> list[Bound]:
        """Bounds of codec, inversion and recognizer."""
        study, options = self.study, self.options
        contents = [pair.content for pair in study.pairs[:IDENTITIES]]

        def make() -> list[dict]:
            some = contents[: options.budget.rendered]
            found = reconstruction(study.network, some, options.size, options.steps)
            return [vars(bound) for bound in [*found, recognition(study.recognizer, contents, options.size)]]

        stored = study.store.result("instruments", f"instruments {options.budget.rendered}", make)
        return [Bound(**bound) for bound in stored]

    def bounds(self, results: Results) -> list[Bound]:
        """All bounds."""
        judge, people = Judge(self.options.budget.quick), self.study.people
        found = self.instruments() + default_bounds(judge, results, people)
        found += photograph_bounds(
            judge, self.photographs.measure(self.compared[-1]), [name for name, _ in self.photographs.pairs]
        )
        for references in SETS:
            found += style_bounds(judge, self.table, results, people, references)
        return found + dial_bounds(results, dials(self.table), "aligned")

    def lines(self, results: Results) -> list[str]:
        """Lines of Markdown tables."""
        tables = [["", *table(self.table, results, references)] for references in SETS]
        return [line for lines in tables for line in lines] + ["", *photographs.lines(self.compared, self.photographs)]

    def record(self, results: Results) -> dict[str, dict]:
        """Every figure, as JSON knows them."""
        return {
            "rows": record(results, self.study.people),
            "photographs": {row.name: photographs.record(row, self.photographs) for row in self.compared},
        }

    def draw(self, results: Results) -> None:
        """Plots and sheets."""
        for references in SETS:
            curves: dict[str, list[Point]] = {}
            for row in self.table:
                if row.curve and (v := results.get((row.name, references))):
                    point = Point(float(v["structure"].mean()), float(v["patch"].mean()), row.label)
                    curves.setdefault(row.curve, []).append(point)
            file = self.options.out / f"tradeoff_{references}.png"
            tradeoff(curves, file, f"{references} references, {self.options.size} px")
            self._sheet(references)
        columns = ["content", "reference", "truth", *(row.name for row in self.compared)]
        sheet(columns, self._rendered("misaligned", self.compared)[:GHOSTS], self.options.out / "ghost.png")

    def _sheet(self, references: str) -> None:
        """Pictures of methods at their defaults on the first twelve pairs; beside misaligned ones the photographs."""
        first = self.compared if references == "misaligned" else self.compared[1:]
        others = [row for row in self.table if row.default and row not in first and self._pairs(row, references)]
        shown = self._rendered(references, [*first, *others])
        if references == "misaligned":
            shown += self._photographed(len(others))
        columns = ["content", "reference", "truth", *(row.name for row in (*first, *others))]
        sheet(columns, shown, self.options.out / f"sheet_{references}.png")

    def _rendered(self, references: str, chosen: list[Row]) -> list[list[Field]]:
        drawn = [self.study.pictures(row, references) for row in chosen]
        return [
            [pair.content, getattr(pair, references), pair.truth, *images]
            for pair, *images in zip(self.study.pairs[:IDENTITIES], *drawn, strict=True)
        ]

    def _photographed(self, blank: int) -> list[list[Field]]:
        """Every photograph in a style of its own; what is not known of it is white."""
        work = self.photographs
        drawn = [dict(zip(work.pairs, work.pictures(row), strict=True)) for row in self.compared]
        shown = []
        for number, (name, portrait) in enumerate(work.portraits.items()):
            style = photographs.STYLES[number % work.styles]
            white = np.ones_like(portrait)
            images = [pictures[name, style] for pictures in drawn]
            shown.append([portrait, work.style(style), white, *images, *[white] * blank])
        return shown

    def _pairs(self, row: Row, references: str) -> int:
        return row.pairs(references, self.options.budget)


def measure_group(work: Stylization, chosen: list[Row], references: str, group: int) -> None:
    """All chosen rows on twelve pairs."""
    for row in chosen:
        work.study.measure_group(row, references, group)


def measure_photographs(work: Stylization, row: Row) -> None:
    """A row on the photographs."""
    work.photographs.measure(row)


def measure_instruments(work: Stylization) -> None:
    """Codec, inversion and recognizer."""
    work.instruments()
