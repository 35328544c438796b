"""The measure of a 4 px grid, on faults made for it."""

import numpy as np
import pytest
from truth.grid import grid
from truth.pairs import photographs

from demo.train.natural import clouds

SIZE = 128
PHOTOGRAPHS = dict(photographs(SIZE))


@pytest.fixture(params=["astronaut", "hopper", "clouds"])
def picture(request):
    """Photographs, and noise that is smooth over some cells."""
    return PHOTOGRAPHS.get(request.param, clouds(SIZE, np.random.default_rng(1)))


def screen(amplitude: float) -> np.ndarray:
    """Cells of 4 px that each get brighter to the right and downwards: (SIZE, SIZE, 1)."""
    ramp = np.arange(SIZE) % 4 / 3 - 0.5
    return np.float32(amplitude / 2) * (ramp[:, None] + ramp[None])[..., None].astype(np.float32)


def stripes(period: int, amplitude: float) -> np.ndarray:
    """Every `period`-th row and column brighter: (SIZE, SIZE, 1)."""
    line = np.arange(SIZE) % period == 0
    return amplitude * np.maximum(line[:, None], line[None])[..., None].astype(np.float32)


def test_pictures_without_a_grid_score_one(picture):
    assert grid(picture) == pytest.approx(1, abs=0.05)


def test_a_painted_grid_scores_in_the_order_of_its_amplitude(picture):
    scores = [grid(picture + screen(amplitude)) for amplitude in (0, 0.02, 0.04, 0.08, 0.16)]
    assert scores == sorted(scores)
    assert scores[-1] > 1.3


@pytest.mark.parametrize("period", [3, 5, 6, 7])
def test_stripes_of_another_period_do_not_count(picture, period):
    assert grid(picture + stripes(period, 0.04)) == pytest.approx(1, abs=0.08)


def test_edges_of_things_do_not_count(picture):
    """A bright square whose edges lie on borders of cells."""
    shown = picture * np.float32(0.5)
    shown[32:96, 32:96] += 0.5
    assert grid(shown) == pytest.approx(1, abs=0.08)


def test_a_picture_of_one_colour_has_no_grid():
    assert grid(np.full((SIZE, SIZE, 3), 0.3, np.float32)) == 1


@pytest.mark.parametrize("shape", [(128, 128), (3, 128, 128), (4, 128, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"picture \(H, W, 3\)"):
        grid(np.zeros(shape, np.float32))
