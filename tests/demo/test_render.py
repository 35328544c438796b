"""The portrait renderer and its styles: deterministic, the same picture at every size, distinct."""

import numpy as np
import pytest

from demo.render import render, scene
from demo.render.styles import KINDS, apply, style

SEEDS = (3, 11, 24)


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Average over squares of `factor` pixels."""
    size = image.shape[0] // factor
    return image.reshape(size, factor, size, factor, -1).mean((1, 3))


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return render(scene(11), 64)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_portrait_and_masks_are_in_range(seed):
    image, masks = render(scene(seed), 64)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert image.std() > 0.05
    assert set(masks) == {"head", "hair", "body", "background"}
    for mask in masks.values():
        assert mask.shape == (64, 64)
        assert 0 <= mask.min() <= mask.max() <= 1
    assert masks["head"].mean() > 0.05


def test_same_seed_same_picture_other_seed_other_picture():
    first, again, other = (render(scene(seed), 64)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_every_size_shows_the_same_portrait(seed):
    small, large = render(scene(seed), 64)[0], render(scene(seed), 192)[0]
    assert decibels(small, shrink(large, 3)) > 26


def test_there_are_at_least_twelve_kinds():
    assert len(set(KINDS)) >= 12


@pytest.mark.parametrize("kind", KINDS)
def test_style_is_deterministic_and_in_range(kind, portrait):
    first, again = (apply(style(5, kind), portrait) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == portrait.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert 0 <= first.min() <= first.max() <= 1
    assert np.abs(first - portrait).mean() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_dials_change_the_picture(kind, portrait):
    assert np.abs(apply(style(5, kind), portrait) - apply(style(6, kind), portrait)).mean() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_shows_the_same_style(kind):
    small, large = (apply(style(5, kind), render(scene(11), size)[0]) for size in (96, 192))
    assert decibels(small, shrink(large, 2)) > 15


def test_kinds_differ(portrait):
    pictures = [apply(style(5, kind), portrait) for kind in KINDS]
    for i, one in enumerate(pictures):
        assert all(np.abs(one - other).mean() > 0.02 for other in pictures[:i])


def test_wrong_input_is_refused(portrait):
    with pytest.raises(ValueError, match="choose one of"):
        style(1, "cubism")
    with pytest.raises(ValueError, match="square image"):
        apply(style(1), portrait[:32])
