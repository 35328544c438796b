"""Truth benchmark of the demo model: what a setting does to the style, the drawing and the face, in numbers.

Portraits and styles are rendered, so that the truth of every pair is known. Results are stored in OUT/rows as they
come: an interrupted run goes on where it stopped. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from truth.bounds import closing_lines
from truth.budget import ALL, QUICK, WHOLE
from truth.pairs import Part
from truth.report import closing_line, numbers
from truth.stylization import Options, Stylization
from truth.workers import work

from demo.network import DEMO, SMALL


def parsed() -> tuple[Options, int]:
    """Options, and the number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="few pairs, ten minutes; bounds may stay undecided")
    length.add_argument("--all", action="store_true", help="also the rows that no bound looks at")
    part = "choose on development pairs; report figures on the others"
    parser.add_argument("--part", choices=get_args(Part), default="report", help=part)
    parser.add_argument("--small", action="store_true", help="the small weights at 64 px instead of the demo's at 128")
    parser.add_argument("--weights", type=Path, help="another weights file")
    parser.add_argument("--size", type=int, help="pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    budget = QUICK if given.quick else ALL if given.all else WHOLE
    weights, size = given.weights or (SMALL if given.small else DEMO), given.size or (64 if given.small else 128)
    return Options(given.out, weights, size, given.steps, given.part, budget), given.workers


def tools(options: Options) -> Stylization:
    """What a process holds."""
    torch.set_num_threads(1)  # processes share the cores; threads would take them from each other
    return Stylization(options)


def write(options: Options, found: Stylization) -> bool:
    """Tables, bounds, plots and sheets of finished rows; True if no bound is missed."""
    results = found.results()
    bounds = found.bounds(results)
    head = f"# Quality: {options.weights.name}, {options.size} px, {options.part} pairs, {options.steps} steps"
    text = [f"{head}, {options.budget.run} run", "", "| figure | measured | must | |", "|---|---|---|---|"]
    text += [*map(str, bounds), *found.lines(results)]
    (options.out / "quality.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    setting = {"weights": options.weights.name, "size": options.size, "steps": options.steps, "part": options.part}
    content = {
        "run": setting | vars(options.budget),
        "bounds": [vars(b) | {"found": numbers(b.found) if b.found else None} for b in bounds],
        **found.record(results),
    }
    file = options.out / "quality.json"
    file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    found.draw(results)
    print("\n".join([*text, closing_line(results), *closing_lines(bounds)]))
    return all(bound.verdict != "missed" for bound in bounds)


def main() -> int:
    options, workers = parsed()
    found = tools(options)
    for jobs in found.rounds():
        work(jobs, workers, partial(tools, options))
    met = write(options, found)
    print(f"{sum(os.times()[:4]):.0f} CPU s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
