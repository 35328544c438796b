"""Truth benchmark of the demo model: what a setting does to the style, the drawing and the face, in numbers.

Portraits and styles are rendered, so that the truth of every pair is known. Rows are stored in OUT/rows as they
finish: an interrupted run goes on where it stopped. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from truth.classifiers import train
from truth.measures import psnr
from truth.methods import Row, dials, rows
from truth.pairs import IDENTITIES, UNSEEN, pairs, photographs
from truth.plot import Point, tradeoff
from truth.report import Bound, closing_line, dial_bounds, style_bounds
from truth.report import table as lines_of
from truth.sheet import sheet
from truth.study import Study, planes

from demo.network import DEMO, SMALL, Network
from demo.render.styles import KINDS
from demo.train.natural import PHOTOGRAPHS
from magicstyle_core.sampling.ddim import Exact, FixedPoint

SETS = ("aligned", "misaligned")
_study: Study | None = None  # of a worker process


def study(options: argparse.Namespace) -> Study:
    """The study that the options describe."""
    torch.set_num_threads(1)
    network = Network.load(options.weights)
    return Study(
        network, pairs(options.size, options.pairs), train(64, options.out), options.out / "rows", options.steps
    )


def _start(options: argparse.Namespace) -> None:
    global _study
    _study = study(options)


def _measure(job: tuple[Row, str]) -> str:
    row, references = job
    assert _study is not None
    _study.measure(row, references)
    return f"{row.name}, {references}"


def reconstruction(work: Study, size: int) -> list[Bound]:
    """Bounds of codec and inversion, on rendered portraits and on the photographs."""
    bounds = []
    rendered = [pair.content for pair in work.pairs[:IDENTITIES]]
    trained, unseen = ([p for _, p in photographs(size, files)] for files in (PHOTOGRAPHS, UNSEEN))
    sets = (("rendered", rendered, 30), ("photographs", trained, 32), ("photographs never trained on", unseen, 32))
    for name, images, least in sets:
        given = planes(images)
        coded = work.network.codec.decode(work.network.codec.encode(given))
        error = [psnr(a, b) for a, b in zip(given.numpy(), coded.numpy(), strict=True)]
        bounds.append(_decibels(f"codec, {name}", error, least))
        for method, floor in ((Exact(), 60), (FixedPoint(1), 44)):
            back = work.network.stylize(work.network.invert(given, work.steps, method))
            error = [psnr(a, b) for a, b in zip(back.numpy(), coded.numpy(), strict=True)]
            bounds.append(_decibels(f"{method} and back against the codec's picture, {name}", error, floor))
            if method == Exact():
                again = work.network.stylize(work.network.invert(given, work.steps, method))
                same = bool(torch.equal(back, again))
                bounds.append(Bound(f"two runs, {name}", "bit-equal" if same else "different", "bit-equal", same))
    return bounds


def _decibels(figure: str, values: list[float], least: float) -> Bound:
    mean = sum(values) / len(values)
    return Bound(f"{figure}, dB", f"{mean:.1f} ({min(values):.1f} to {max(values):.1f})", f">= {least}", mean >= least)


def write(options: argparse.Namespace, table: list[Row], work: Study) -> bool:
    """Table, bounds, plots and sheets of finished rows; True if all bounds are met."""
    results = {(row.name, s): work.measure(row, s) for row in table for s in row.sets}
    bounds = reconstruction(work, options.size)
    for references in SETS:
        bounds += style_bounds(table, results, work.people, references)
    bounds += dial_bounds(results, dials(table), "aligned")
    text = [f"# Quality: {options.weights.name}, {options.size} px, {len(work.pairs)} pairs, {options.steps} steps", ""]
    text += ["| figure | measured | must | met |", "|---|---|---|---|", *map(str, bounds)]
    for references in SETS:
        text += ["", *lines_of(table, results, references)]
        curves: dict[str, list[Point]] = {}
        for row in table:
            if row.curve and (row.name, references) in results:
                v = results[row.name, references]
                point = Point(float(v["structure"].mean()), float(v["patch"].mean()), row.label)
                curves.setdefault(row.curve, []).append(point)
        tradeoff(curves, options.out / f"tradeoff_{references}.png", f"{references} references, {options.size} px")
    (options.out / "quality.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    record = {
        "bounds": [vars(bound) for bound in bounds],
        "rows": {
            f"{name} | {s}": {k: float(v.mean()) for k, v in values.items()} for (name, s), values in results.items()
        },
    }
    (options.out / "quality.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sheets(options, table, work)
    print("\n".join(text))
    print(closing_line(results))
    return all(bound.met for bound in bounds)


def sheets(options: argparse.Namespace, table: list[Row], work: Study) -> None:
    """Pictures of methods at their defaults: a sheet for each set of references, one pair of every kind of style."""
    few = replace(work, pairs=work.pairs[: len(KINDS)])
    shown = [row for row in table if row.default]
    for references in SETS:
        drawn = [few.images(row, references) for row in shown]
        rows = [
            [pair.content, getattr(pair, references), pair.truth, *images]
            for pair, *images in zip(few.pairs, *drawn, strict=True)
        ]
        columns = ["content", "reference", "truth", *(row.name for row in shown)]
        sheet(columns, rows, options.out / f"sheet_{references}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true", help="the small weights at 64 px instead of the demo's at 128")
    parser.add_argument("--presets", action="store_true", help="leave out the rows that no bound looks at")
    parser.add_argument("--weights", type=Path, help="another weights file")
    parser.add_argument("--size", type=int, help="pixels")
    parser.add_argument("--pairs", type=int, default=144)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    options.weights = options.weights or (SMALL if options.small else DEMO)
    options.size = options.size or (64 if options.small else 128)
    table = [row for row in rows() if row.headline or not options.presets]
    work = study(options)  # trains the classifiers before the workers need them
    jobs = [(row, s) for s in SETS for row in table if s in row.sets]  # a worker holds the banks of one set
    fresh = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(options.workers, fresh, initializer=_start, initargs=(options,)) as pool:
        for number, done in enumerate(pool.map(_measure, jobs), 1):
            print(f"{number}/{len(jobs)} {done}", flush=True)
    return 0 if write(options, table, work) else 1


if __name__ == "__main__":
    sys.exit(main())
