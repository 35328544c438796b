"""The fine part of features, and what of it repeats."""

import pytest
import torch
from denoisers import assert_close, gaussian

from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.pattern import extended, fine, regular

GRID = (6, 7)


def lattice(height=24, width=32, period=4, channels=5):
    """Waves across and down at unit amplitude, with a colour of their own each: (1, C, h, w)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.cos(2 * torch.pi * x / period), torch.cos(2 * torch.pi * y / period)]).double()
    return torch.einsum("ck,khw->chw", gaussian((channels, 2), 3), waves)[None]


def test_what_is_even_is_not_fine():
    flat = Feature(torch.full((2, 42, 12), 7.0, dtype=torch.float64), GRID)
    assert_close(fine(flat), torch.zeros(2, 12, *GRID, dtype=torch.float64))


def test_another_grid_keeps_the_scale():
    own = gaussian((2, 12, *GRID), 2)
    larger = extended(own, (13, 9))
    assert torch.equal(larger[:, :, :6, :7], own)
    assert torch.equal(larger[:, :, 6:11, :7], own[:, :, :5].flip(2))
    assert torch.equal(extended(own, (3, 2)), own[:, :, :3, :2])


def test_a_lattice_is_regular_and_noise_is_not():
    order, noise = lattice(), gaussian((1, 5, 24, 32), 4)
    assert float((regular(order) - order).norm() / order.norm()) < 1e-6
    assert float(regular(noise).norm() / noise.norm()) < 0.15
    found = regular(order + noise)
    assert float((found - order).norm() / order.norm()) < 0.3


def test_a_lattice_is_found_wherever_it_lies():
    moved = torch.roll(lattice(), (1, 2), (2, 3))
    assert_close(regular(moved), torch.roll(regular(lattice()), (1, 2), (2, 3)))


@pytest.mark.parametrize("grid", [(1, 1), (2, 9), (6, 40)])
def test_small_grids_have_no_order(grid):
    assert not regular(gaussian((1, 3, *grid), 5)).any()


def test_half_precision_keeps_its_type():
    found = regular(lattice().half())
    assert found.dtype == torch.float16
    assert float((found.double() - lattice()).norm() / lattice().norm()) < 1e-2
