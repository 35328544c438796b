"""Bounds of the quality benchmark: each reads the figure that it names, over the pairs that both rows have, and says
what it cannot tell."""

import json

import numpy as np
import pytest
from truth.bounds import Judge, closing_lines, decided
from truth.methods import Row
from truth.report import DEFAULT, FIRST, TRUTH, default_bounds, dial_bounds, photograph_bounds, record, table
from truth.study import MEASURES, same

PEOPLE = np.arange(48) % 12
ABOVE, AT, BELOW = (1.2, 1.1, 1.3), (1.02, 0.8, 1.2), (0.5, 0.4, 0.6)  # of 1: mean, low, high


@pytest.mark.parametrize(
    ("found", "quick", "least", "most", "surely"),
    [
        (ABOVE, False, "met", "missed", "met"),
        (ABOVE, True, "met", "missed", "met"),
        (BELOW, False, "missed", "met", "missed"),
        (BELOW, True, "missed", "met", "missed"),
        (AT, True, "undecided", "undecided", "undecided"),
        (AT, False, "met", "missed", "missed"),  # the mean decides, or the interval's end
        ((np.nan,) * 3, True, "undecided", "undecided", "undecided"),
        ((np.nan,) * 3, False, "missed", "missed", "missed"),
    ],
)
def test_verdicts(found, quick, least, most, surely):
    judge = Judge(quick)
    bounds = judge.at_least("a", found, 1), judge.at_most("a", found, 1), judge.surely_above("a", found, 1)
    assert [bound.verdict for bound in bounds] == [least, most, surely]


def test_a_loss_that_is_not_sure_is_none():
    assert [Judge().maybe_at_most("a", found, 1).verdict for found in (ABOVE, AT, BELOW)] == ["missed", "met", "met"]


def test_what_fell_short_is_named_at_the_end_and_what_is_undecided_after_it():
    bounds = [
        Judge(True).at_least("first", AT, 1),
        decided("second", "0", "1", False),
        decided("third", "1", "1", True),
    ]
    lines = closing_lines(bounds)
    assert [line.split(":")[:2] for line in lines] == [["missed", " second"], ["undecided", " first"]]


# Bounds of the default


def values(count=48, **changed):
    """A row of which every figure keeps every bound."""
    r = np.random.default_rng(3)
    same_for_all = {"ghost": 0.0, "place": 0.0, "grid": 1.0, "lattice": 0.5, "eyes": 0.5, "style": 0.9, "same": 1.0,
                    "identity": 1.0, "truth_structure": 0.3, "patch": 4.0}  # fmt: skip
    found = {name: np.full(48, same_for_all.get(name, 1.0)) + 1e-3 * r.normal(size=48) for name in MEASURES}
    return {name: (numbers + changed.get(name, 0.0))[:count] for name, numbers in found.items()}


def verdicts(default, first=None, truth=None):
    first = values(eyes=-0.3) if first is None else first
    results = {(DEFAULT, "misaligned"): default, (FIRST, "misaligned"): first, (TRUTH, "misaligned"): truth or values()}
    bounds = default_bounds(Judge(), results, PEOPLE)
    return {b.figure.removeprefix("misaligned: ").split(",")[0].split(" / ")[0]: b.verdict for b in bounds}


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"ghost": 0.2}, "ghost"),
        ({"place": 0.2}, "place"),
        ({"patch": 1.2}, "patch distance beyond the first default's"),
        ({"lattice": -0.05}, "lattice"),
        ({"style": -0.05}, "style"),
        ({"truth_structure": -0.02}, "truth structure"),
        ({"identity": -0.02}, "identity"),
        ({"eyes": -0.29}, "eyes"),
        ({"same": -0.1}, "same person (the truth: 100.0%)"),
        ({"grid": 0.2}, "grid"),
    ],
)
def test_each_fault_misses_its_own_bound_alone(change, figure):
    assert set(verdicts(values()).values()) == {"met"}
    found = verdicts(values(**change))
    assert {name for name, verdict in found.items() if verdict == "missed"} == {figure}


def test_rows_are_compared_over_the_pairs_that_both_have():
    long = values()
    long["lattice"][24:] -= 0.5  # where the other has no pairs
    assert verdicts(long, values(24, eyes=-0.3))["lattice"] == "met"
    assert verdicts(long)["lattice"] == "missed"


def test_pairs_without_a_number_are_left_out():
    some, first = values(), values(eyes=-0.3)
    some["lattice"][::2] = first["lattice"][::2] = np.nan
    assert verdicts(some, first)["lattice"] == "met"
    row = Row(DEFAULT, "truth")
    line = table([row], {(DEFAULT, "misaligned"): some}, "misaligned")[-1]
    assert "nan" not in line
    written = record({(DEFAULT, "misaligned"): some | {"face": np.full(48, np.nan)}}, PEOPLE)
    figures = json.loads(json.dumps(written, allow_nan=False))[f"{DEFAULT} | misaligned"]
    assert figures["pairs"] == 48
    assert figures["lattice"][0] == pytest.approx(0.5, abs=0.01)
    assert figures["face"] == [None, None, None]


def test_no_one_need_be_known_again_where_the_truth_is_not():
    truth = values(same=-0.4)
    assert verdicts(values(same=-0.35), truth=truth)["same person (the truth: 60.0%)"] == "met"
    assert verdicts(values(same=-0.45), truth=truth)["same person (the truth: 60.0%)"] == "missed"


def test_photographs_are_counted():
    found = same(np.array([0.3, 0.6, 0.61, np.nan]))
    np.testing.assert_array_equal(found, [1, 1, 0, np.nan])
    (bound,) = photograph_bounds(Judge(), {"same": found}, ["a", "a", "b", "b"], truth=1.0)
    assert "2 of 4" in bound.figure
    assert bound.verdict == "missed"
    (bound,) = photograph_bounds(Judge(), {"same": found}, ["a", "a", "b", "b"], truth=0.25)
    assert bound.verdict == "met"


@pytest.mark.parametrize(
    ("last", "noise", "whole", "quick"),
    [(3.0, 0.0, "met", "met"), (4.2, 0.0, "met", "met"), (4.5, 0.0, "missed", "missed"),
     (4.5, 2.0, "missed", "undecided")],
)  # fmt: skip
def test_a_dial_falls_all_the_way(last, noise, whole, quick):
    wave = np.tile(np.repeat([1.0, -1.0], 6), 4)  # people differ
    along = [{"structure": np.full(48, 0.5 - i / 10), "patch": np.full(48, d) + i * noise * wave}
             for i, d in enumerate((5.0, 4.0, last))]  # fmt: skip
    results = {(f"{i}", "aligned"): found for i, found in enumerate(along)}
    dials = {"strength": ["0", "1", "2"], "one that was not run": ["3", "4"]}
    for judge, verdict in ((Judge(), whole), (Judge(quick=True), quick)):
        (bound,) = dial_bounds(judge, results, PEOPLE, dials, "aligned")
        assert bound.verdict == verdict
