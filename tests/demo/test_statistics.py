"""Intervals of the quality benchmark: how sure its means are."""

import numpy as np
import pytest
from truth.statistics import interval, paired


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    r = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 7)
    by_group = alone = 0
    for _ in range(150):
        values = 3 + r.normal(size=12)[groups] + 0.3 * r.normal(size=84)  # people differ, their pictures hardly do
        _, low, high = interval(values, groups)
        by_group += low <= 3 <= high
        _, low, high = interval(values)
        alone += low <= 3 <= high
    assert 0.85 <= by_group / 150 <= 0.99
    assert alone / 150 < 0.7  # single values are not independent here


def test_intervals_are_deterministic_and_hold_the_mean():
    values = np.arange(20.0)
    assert interval(values) == interval(values)
    mean, low, high = interval(values, [str(i % 5) for i in range(20)])
    assert mean == pytest.approx(9.5)
    assert low < mean < high
    assert interval(np.full(6, 2.0)) == (2.0, 2.0, 2.0)


def test_paired_differences_see_more_than_single_means():
    r = np.random.default_rng(2)
    base = 5 * r.normal(size=60)
    mean, low, high = paired(base + 0.5 + 0.1 * r.normal(size=60), base)
    assert 0.4 < low < mean < high < 0.6
    with pytest.raises(ValueError, match="pairs"):
        paired([1.0, 2.0], [1.0])


def test_a_value_that_does_not_exist_is_left_out():
    """So is a group of such values: it is no group of none."""
    values, groups = [1.0, 2.0, 4.0, 3.0], [0, 0, 1, 2]
    with_holes = [1.0, np.nan, 2.0, 4.0, np.nan, 3.0]
    assert interval(with_holes, [0, 0, 0, 1, 3, 2]) == interval(values, groups)
    assert paired(with_holes, np.zeros(6))[0] == pytest.approx(2.5)
    assert np.isnan(interval([np.nan, np.nan])).all()


@pytest.mark.parametrize(("values", "groups"), [([], None), ([1.0, 2.0], [0])])
def test_intervals_refuse_what_they_cannot_judge(values, groups):
    with pytest.raises(ValueError, match="Expected"):
        interval(values, groups)
