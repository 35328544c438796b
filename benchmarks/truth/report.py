"""The study as a table, a list of bounds and a closing line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curves import gain, monotone
from .methods import GENTLE, OWN, Row
from .statistics import interval, paired
from .study import DISTANCES, KEPT, RIGHT, Values

Results = Mapping[tuple[str, str], Values]  # by row name and set of references
COLUMNS = (*DISTANCES, *KEPT, *RIGHT)
FORMAT = {name: ".2f" for name in (*DISTANCES, "psnr")} | {
    name: ".3f" for name in ("structure", "ssim", "truth_structure")
}
DEFAULT, STYLEID, STANDARD, REINHARD = (
    "MagicStyle, strength 1",
    "StyleID gamma 0.75",
    "standard attention",
    "Reinhard 1",
)
NOTHING = "nothing done"
# Distances may step back by this much on the way and still count as falling: the width of their intervals.
SLACK = 0.25


@dataclass(frozen=True)
class Bound:
    """A figure that the issue of quality asks for: what was measured, what it must be, and whether it is."""

    figure: str
    measured: str
    bound: str
    met: bool

    def __str__(self) -> str:
        return f"| {self.figure} | {self.measured} | {self.bound} | {'yes' if self.met else 'NO'} |"


def table(rows: Sequence[Row], results: Results, references: str) -> list[str]:
    """Lines of a Markdown table of all rows measured against one set of references."""
    lines = [f"| {references} | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        if values := results.get((row.name, references)):
            cells = [format(float(values[c].mean()), FORMAT.get(c, ".0%")) for c in COLUMNS]
            lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def curve_of(rows: Sequence[Row], name: str, results: Results, references: str) -> list[Values]:
    """Values of the rows of one trade-off curve."""
    return [results[row.name, references] for row in rows if row.curve == name and (row.name, references) in results]


def style_bounds(rows: Sequence[Row], results: Results, people: NDArray[np.int64], references: str) -> list[Bound]:
    """Bounds that hold for one set of references."""
    default, nothing, reinhard = (results[name, references] for name in (DEFAULT, NOTHING, REINHARD))
    bounds = []
    for measure in ("color", "patch"):
        share, low, high = interval(default[measure] / nothing[measure].mean(), people)
        bounds.append(
            Bound(
                f"{measure} distance / nothing done", f"{share:.2f} ({low:.2f} to {high:.2f})", "<= 0.35", share <= 0.35
            )
        )
    own, softer = (curve_of(rows, name, results, references) for name in (OWN, GENTLE))
    for row in rows:
        if row.curve in ("", OWN, GENTLE) or not row.default:
            continue
        for measure in ("patch",) if row.name != REINHARD else ():
            bounds.append(_beaten(row, own, softer, results, people, references, measure))
        if row.name != REINHARD:
            continue
        less, low, high = paired(reinhard["texture"], default["texture"], people)
        bounds.append(
            Bound("texture distance less than Reinhard's by", f"{less:.1f} ({low:.1f} to {high:.1f})", "> 0", low > 0)
        )
        drop, low, high = paired(reinhard["identity"], default["identity"], people)
        bounds.append(
            Bound(
                "identity lost against Reinhard",
                f"{drop:.1%} ({low:.1%} to {high:.1%})",
                "interval reaches 0",
                low <= 0,
            )
        )
    for measure, least in (("identity", 0.95), ("style", 0.80)):
        share, low, high = interval(default[measure], people)
        bounds.append(
            Bound(f"{measure} right", f"{share:.0%} ({low:.0%} to {high:.0%})", f">= {least:.0%}", share >= least)
        )
    return [Bound(f"{references}: {b.figure}", b.measured, b.bound, b.met) for b in bounds]


def _beaten(
    row: Row,
    own: list[Values],
    softer: list[Values],
    results: Results,
    people: NDArray[np.int64],
    references: str,
    measure: str,
) -> Bound:
    """Whether our curve has less distance where it keeps as much structure as `row`, or more structure than that.

    Where ours ends before it keeps so much, the `softer` one is asked: recoloured contents, fused in the last steps.
    """
    figure = f"{measure} distance less than {row.name}"
    other = results[row.name, references]
    found = gain(own, other, measure, people)
    if found is not None:
        figure += " at its structure, by"
    elif (found := gain(softer, other, measure, people)) is not None:
        figure += " at its structure, ours recoloured, by"
    else:
        least = min(own, key=lambda values: float(values["structure"].mean()))
        kept, ours = (float(values["structure"].mean()) for values in (other, least))
        if kept > ours:
            most = _most([*own, *softer])
            return Bound(figure, f"it keeps {kept:.2f} of the structure, ours at most {most:.2f}", "> 0", False)
        figure += f" at more structure ({ours:.2f}, it {kept:.2f}), by"
        found = paired(other[measure], least[measure], people)
    mean, low, high = found
    return Bound(figure, f"{mean:.2f} ({low:.2f} to {high:.2f})", "> 0", low > 0)


def _most(curve: list[Values]) -> float:
    return max(float(values["structure"].mean()) for values in curve)


def dial_bounds(results: Results, dials: Mapping[str, Sequence[str]], references: str) -> list[Bound]:
    """Structure and patch distance fall along each dial; `dials` gives its rows from low to high."""
    bounds = []
    for dial, names in dials.items():
        structure, distance = (
            [float(results[name, references][measure].mean()) for name in names] for measure in ("structure", "patch")
        )
        way = " ".join(f"{s:.3f}/{d:.2f}" for s, d in zip(structure, distance, strict=True))
        met = monotone(structure, rising=False, slack=0.005) and monotone(distance, rising=False, slack=SLACK)
        bounds.append(Bound(f"{references}: {dial}: structure and patch distance fall", way, "monotone", met))
    return bounds


def closing_line(results: Results, references: str = "misaligned") -> str:
    """Default beside StyleID, standard attention and Reinhard."""
    parts = []
    for label, name in (
        ("default", DEFAULT),
        ("StyleID", STYLEID),
        ("standard attention", STANDARD),
        ("Reinhard", REINHARD),
    ):
        v = {measure: float(values.mean()) for measure, values in results[name, references].items()}
        kept = f"structure {v['structure']:.3f} style {v['style']:.0%} identity {v['identity']:.0%}"
        parts.append(f"{label} patch {v['patch']:.2f} {kept}")
    return f"{references}: " + "; ".join(parts)
