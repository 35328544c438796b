"""The study of stylization as a table, a list of bounds and a closing line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .bounds import Bound, Judge
from .curves import gain
from .methods import GENTLE, OWN, Row
from .statistics import interval, paired
from .study import MEASURES, RIGHT, Values

Results = Mapping[tuple[str, str], Values]  # by row name and set of references; a row may have fewer pairs than another
COLUMNS = MEASURES
FORMAT = {name: ".3f" for name in COLUMNS} | {name: ".2f" for name in ("color", "patch", "texture", "psnr")}
FORMAT |= {name: ".0%" for name in RIGHT}
DEFAULT, STYLEID, STANDARD, REINHARD = (
    "MagicStyle, strength 1",
    "StyleID gamma 0.75",
    "standard attention",
    "Reinhard 1",
)
NOTHING, TRUTH, FIRST = "nothing done", "truth", "first default"
# Distances may step back by this much on the way and still count as falling: the width of their intervals.
SLACK = 0.25
# Of the default on misaligned references, against the truth and against the first default.
MOST_GHOST, MOST_PATCH, MOST_GRID = 0.10, 1.0, 1.10
KEPT_OF_FIRST = {"lattice": (-0.02, ".3f"), "style": (-0.03, ".1%"), "truth_structure": (-0.01, ".3f"),
                 "identity": (-0.01, ".1%")}  # fmt: skip
EYES, SAME_PERSON = 1.2, 0.95


def table(rows: Sequence[Row], results: Results, references: str) -> list[str]:
    """Lines of a Markdown table of all rows measured against one set of references."""
    lines = [f"| {references} | pairs | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        if values := results.get((row.name, references)):
            cells = [format(interval(values[c])[0], FORMAT[c]) for c in COLUMNS]
            lines.append(f"| {row.name} | {len(values[COLUMNS[0]])} | " + " | ".join(cells) + " |")
    return lines


def record(results: Results, people: NDArray[np.int64]) -> dict[str, dict]:
    """Every figure of every row: its pairs, and of each measure mean, low and high; None where there is no number."""
    found = {}
    for (name, references), values in results.items():
        count = len(values[COLUMNS[0]])
        figures = {c: numbers(interval(values[c], people[:count])) for c in COLUMNS}
        found[f"{name} | {references}"] = {"pairs": count, **figures}
    return found


def numbers(found: Sequence[float]) -> list[float | None]:
    """Numbers as JSON knows them."""
    return [None if np.isnan(value) else float(value) for value in found]


def style_bounds(
    judge: Judge, rows: Sequence[Row], results: Results, people: NDArray[np.int64], references: str
) -> list[Bound]:
    """Bounds of the default by itself and against other methods, for one set of references."""
    default, nothing, reinhard, people_ = _shared(results, people, references, DEFAULT, NOTHING, REINHARD)
    bounds = []
    for measure in ("color", "patch"):
        share = interval(default[measure] / nothing[measure].mean(), people_)
        bounds.append(judge.at_most(f"{measure} distance / nothing done", share, 0.35))
    for row in rows:
        if not row.default or row.curve in ("", OWN, GENTLE) or (row.name, references) not in results:
            continue
        if row.name != REINHARD:
            bounds.append(_beaten(judge, row, rows, results, people, references))
            continue
        less = paired(reinhard["texture"], default["texture"], people_)
        bounds.append(judge.surely_above("texture distance less than Reinhard's by", less, 0, ".1f"))
        drop = paired(reinhard["identity"], default["identity"], people_)
        bounds.append(judge.maybe_at_most("identity lost against Reinhard", drop, 0, ".1%"))
    every = results[DEFAULT, references]
    for measure, least in (("identity", 0.95), ("style", 0.80)):
        share = interval(every[measure], people[: len(every[measure])])
        bounds.append(judge.at_least(f"{measure} right", share, least, ".0%"))
    return _named(bounds, references)


def default_bounds(
    judge: Judge, results: Results, people: NDArray[np.int64], references: str = "misaligned"
) -> list[Bound]:
    """Bounds of the default against the truth and against the first default."""
    default, truth, first, people = _shared(results, people, references, DEFAULT, TRUTH, FIRST)

    def difference(measure: str, other: Values) -> tuple[float, float, float]:
        return paired(default[measure], other[measure], people)

    bounds = [
        judge.at_most(f"{name}, beyond the truth's", difference(name, truth), MOST_GHOST, ".3f")
        for name in ("ghost", "place")
    ]
    bounds.append(judge.at_most("patch distance beyond the first default's", difference("patch", first), MOST_PATCH))
    for measure, (least, form) in KEPT_OF_FIRST.items():
        figure = f"{measure.replace('_', ' ')}, beyond the first default's"
        bounds.append(judge.surely_above(figure, difference(measure, first), least, form))
    bounds.append(judge.at_least("eyes / the first default's", _ratio(default["eyes"], first["eyes"], people), EYES))
    whose = interval(truth["same"])[0]
    least = min(SAME_PERSON, whose)
    figure = f"same person (the truth: {whose:.1%})"
    bounds.append(judge.at_least(figure, interval(default["same"], people), least, ".1%"))
    bounds.append(judge.at_most("grid", interval(default["grid"], people), MOST_GRID))
    return _named(bounds, references)


def photograph_bounds(judge: Judge, values: Values, whose: Sequence[str], truth: float) -> list[Bound]:
    """The default on photographs; `whose`: the photograph of each value; `truth`: the rate of the same person there."""
    same = values["same"]
    figure = f"photographs: same person, {int(np.nansum(same))} of {len(same)} (the truth: {truth:.0%})"
    return [judge.at_least(figure, interval(same, whose), min(SAME_PERSON, truth), ".0%")]


def dial_bounds(
    judge: Judge, results: Results, people: NDArray[np.int64], dials: Mapping[str, Sequence[str]], references: str
) -> list[Bound]:
    """Structure and patch distance fall along each dial; `dials` gives its rows from low to high."""
    bounds = []
    for dial, names in dials.items():
        found = _cut([results[name, references] for name in names if (name, references) in results])
        if len(found) < 2:
            continue
        structure, distance = ([float(v[measure].mean()) for v in found] for measure in ("structure", "patch"))
        way = " ".join(f"{s:.3f}/{d:.2f}" for s, d in zip(structure, distance, strict=True))
        steps = [
            (*paired(after[measure], before[measure], people[: len(after[measure])])[:2], slack)
            for measure, slack in (("structure", 0.005), ("patch", SLACK))
            for before, after in pairwise(found)
        ]
        met = all(rise <= slack for rise, _, slack in steps)
        unsure = judge.quick and not met and all(low <= slack for _, low, slack in steps)
        figure, verdict = f"{dial}: structure and patch distance fall", "met" if met else "missed"
        bounds.append(Bound(figure, way, "monotone", "undecided" if unsure else verdict))
    return _named(bounds, references)


def closing_line(results: Results, references: str = "misaligned") -> str:
    """Default beside StyleID, standard attention and Reinhard, as far as they were run."""
    parts = []
    for label, name in (
        ("default", DEFAULT),
        ("first default", FIRST),
        ("StyleID", STYLEID),
        ("standard attention", STANDARD),
        ("Reinhard", REINHARD),
    ):
        if values := results.get((name, references)):
            v = {measure: float(values[measure].mean()) for measure in ("patch", "structure", "style", "identity")}
            kept = f"structure {v['structure']:.3f} style {v['style']:.0%} identity {v['identity']:.0%}"
            parts.append(f"{label} patch {v['patch']:.2f} {kept}")
    return f"{references}: " + "; ".join(parts)


def _beaten(
    judge: Judge, row: Row, rows: Sequence[Row], results: Results, people: NDArray[np.int64], references: str
) -> Bound:
    """Whether our curve has less patch distance where it keeps as much structure as `row`, or more structure than that.

    Where ours ends before it keeps so much, the gentle one is asked: recoloured contents, fused in the last steps.
    """
    figure = f"patch distance less than {row.name}"
    curves = [[r for r in rows if r.curve == name and (r.name, references) in results] for name in (OWN, GENTLE)]
    other, *ours = _cut([results[r.name, references] for r in (row, *curves[0], *curves[1])])
    people = people[: len(other["patch"])]
    own, softer = ours[: len(curves[0])], ours[len(curves[0]) :]
    found = gain(own, other, "patch", people)
    if found is not None:
        figure += " at its structure, by"
    elif softer and (found := gain(softer, other, "patch", people)) is not None:
        figure += " at its structure, ours recoloured, by"
    else:
        least = min(own, key=lambda values: float(values["structure"].mean()))
        kept, ours_kept = (float(values["structure"].mean()) for values in (other, least))
        if kept > ours_kept:
            most = max(float(values["structure"].mean()) for values in (*own, *softer))
            told = f"it keeps {kept:.2f} of the structure, ours at most {most:.2f}"
            return Bound(figure, told, "surely > 0.00", "undecided" if judge.quick else "missed")
        figure += f" at more structure ({ours_kept:.2f}, it {kept:.2f}), by"
        found = paired(other["patch"], least["patch"], people)
    return judge.surely_above(figure, found, 0)


def _ratio(a: NDArray, b: NDArray, people: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean of `a` over mean of `b`, and the ends of its 95 % interval, to first order."""
    ratio, middle = a.mean() / b.mean(), b.mean()
    _, low, high = interval((a - ratio * b) / middle, people)
    return float(ratio), float(ratio + low), float(ratio + high)


def _shared(results: Results, people: NDArray[np.int64], references: str, *names: str) -> tuple:
    """Values of some rows over the pairs that all have, then these pairs' people."""
    found = _cut([results[name, references] for name in names])
    return *found, people[: len(found[0]["patch"])]


def _cut(found: Sequence[Values]) -> list[Values]:
    """The same rows over the pairs that all of them have."""
    count = min((len(values["patch"]) for values in found), default=0)
    return [{name: numbers[:count] for name, numbers in values.items()} for values in found]


def _named(bounds: Sequence[Bound], references: str) -> list[Bound]:
    return [Bound(f"{references}: {b.figure}", b.measured, b.bound, b.verdict, b.found) for b in bounds]
