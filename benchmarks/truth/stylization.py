"""The study of stylization, as `quality.py` runs it: its jobs, its bounds, its tables and its pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from demo.network import Network
from demo.render import render, scene
from demo.render.fields import Field

from . import photographs
from .bounds import Bound, Judge
from .budget import Budget
from .classifiers import train, train_people, train_styles
from .faces import Recognizer
from .instruments import recognition, reconstruction
from .methods import Row, dials, rows
from .pairs import IDENTITIES, Part, pairs, people
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
from .store import Store, fingerprint
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
    def network(self) -> Network:
        return Network.load(self.options.weights)

    @cached_property
    def recognizer(self) -> Recognizer:
        return Recognizer()

    @cached_property
    def study(self) -> Study:
        options, network = self.options, self.network
        judges = train(64, options.out, options.part)
        some = pairs(options.size, options.budget.most, options.part)
        return Study(network, some, judges, self._folder, options.steps, options.part, self.recognizer)

    @cached_property
    def photographs(self) -> Photographs:
        options = self.options
        store = Store(self._folder, f"{fingerprint(self.network)} {options.size} {options.steps}")
        return Photographs(self.network, options.size, store, self.recognizer, options.budget.styles, options.steps)

    @cached_property
    def table(self) -> list[Row]:
        return [row for row in rows() if any(self._pairs(row, references) for references in SETS)]

    @property
    def compared(self) -> list[Row]:
        """The first default and the default."""
        return [row for name in (FIRST, DEFAULT) for row in self.table if row.name == name]

    def rounds(self) -> list[list[Job]]:
        """Jobs; those of the second round need the classifiers, which the first one trains.

        Those that take longest come first, so that no process is left with one at the end.
        """
        options, found = self.options, []
        first = [
            Job("classifier of styles", train_classifier, (train_styles, options.out)),
            Job("classifier of people", train_classifier, (train_people, options.out, options.part)),
            *(Job(f"photographs, {row.name}", measure_photographs, (row,)) for row in self.compared),
            Job("codec, inversion, recognizer", measure_instruments),
        ]
        for references, start in product(SETS, range(0, options.budget.most, IDENTITIES)):
            chosen = [row for row in self.table if self._pairs(row, references) > start]
            for some in (chosen[i : i + options.budget.lot] for i in range(0, len(chosen), options.budget.lot)):
                name = f"{references}, pairs {start + 1} to {start + IDENTITIES}: {len(some)} rows"
                found.append(Job(name, measure_group, (some, references, start // IDENTITIES)))
        return [first, sorted(found, key=lambda job: -len(job.arguments[0]))]

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
        options, store = self.options, self.photographs.store

        def make() -> list[dict]:
            contents = [render(scene(seed), options.size)[0] for seed in people(options.part)]
            some = contents[: options.budget.rendered]
            found = reconstruction(self.network, some, options.size, options.steps)
            return [vars(bound) for bound in [*found, recognition(self.recognizer, contents, options.size)]]

        stored = store.result("instruments", f"instruments {options.part} {options.budget.rendered}", make)
        return [Bound(**bound) for bound in stored]

    def bounds(self, results: Results) -> list[Bound]:
        """All bounds."""
        judge, whose = Judge(self.options.budget.quick), self.study.people
        photographed = [name for name, _ in self.photographs.pairs]
        found = self.instruments() + default_bounds(judge, results, whose)
        seen = self.photographs
        found += photograph_bounds(judge, seen.measure(self.compared[-1]), photographed, seen.truth_same)
        for references in SETS:
            found += style_bounds(judge, self.table, results, whose, references)
        return found + dial_bounds(judge, results, whose, dials(self.table), "aligned")

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
            style = work.kinds[number % work.styles]
            white = np.ones_like(portrait)
            images = [pictures[name, style] for pictures in drawn]
            shown.append([portrait, work.style(style), white, *images, *[white] * blank])
        return shown

    @property
    def _folder(self) -> Path:
        return self.options.out / "rows"

    def _pairs(self, row: Row, references: str) -> int:
        return row.pairs(references, self.options.budget)


def train_classifier(_: Stylization, train: Callable[..., object], *arguments: object) -> None:
    """A classifier, if it is not there yet."""
    train(*arguments)


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
