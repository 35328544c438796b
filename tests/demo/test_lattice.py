"""The measure of lattices falls with their order, and with nothing else."""

import numpy as np
import pytest
from truth.lattice import lattice

from demo.render import render, scene
from demo.render.styles import apply, style

SIZE = 128


def dots(period=9.0, angle=0.3, phase=(0.0, 0.0), ink=0.3, jitter=0.0):
    """Dots on a lattice, each moved by up to `jitter` periods."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    u = (x * np.cos(angle) + y * np.sin(angle)) / period + phase[0]
    v = (y * np.cos(angle) - x * np.sin(angle)) / period + phase[1]
    cell = np.floor(u).astype(int) % 97, np.floor(v).astype(int) % 97
    moved = np.random.default_rng(0).uniform(-jitter, jitter, (2, 97, 97))
    away = np.hypot(*(part - np.floor(part) - 0.5 + m[cell] for part, m in zip((u, v), moved, strict=True)))
    tone = 0.8 - ink * (away < 0.28)
    return np.repeat(tone[..., None], 3, 2).astype(np.float32)


def test_phase_contrast_and_place_do_not_count():
    truth = dots()
    assert lattice(truth, truth) == pytest.approx(1.0)
    assert lattice(dots(phase=(0.4, 0.7)), truth) > 0.9
    assert lattice(dots(ink=0.15), truth) > 0.9


def test_it_falls_as_dots_leave_their_places():
    kept = [lattice(dots(jitter=amount), dots()) for amount in (0.0, 0.1, 0.2, 0.4)]
    assert all(more > less + 0.05 for more, less in zip(kept, kept[1:], strict=False))
    assert kept[-1] < 0.3


@pytest.mark.parametrize("fault", [{"period": 7.0}, {"period": 11.0}, {"angle": 0.75}])
def test_another_order_is_no_order(fault):
    assert lattice(dots(**fault), dots()) < 0.3


def test_only_regular_styles_have_a_figure():
    portrait = render(scene(1), SIZE)[0]
    painted = {kind: apply(style(5, kind), portrait) for kind in ("halftone", "hatching", "oil", "poster")}
    assert np.isnan([lattice(portrait, painted[kind]) for kind in ("oil", "poster")]).all()
    for kind in ("halftone", "hatching"):
        assert lattice(portrait, painted[kind]) < 0.2 < 0.8 < lattice(painted[kind], painted[kind])
