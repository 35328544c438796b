"""Lightness of one picture, colours of another: against an independent Lab, and what happens where sRGB ends."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

LIGHT, COLOR = slice(0, 1), slice(1, 3)
WITHIN = 0.02  # Lab units; tables of constants differ in the fourth digit


def close(one, other, within=1e-12):
    torch.testing.assert_close(one, other, rtol=within, atol=within)


@pytest.fixture
def keep_colors(pack):
    return pack("nodes.colors").keep_colors


def lab(image):
    """``(B,H,W,3)`` of ``(B,3,H,W)``."""
    return rgb2lab(image.movedim(1, -1).double().numpy())


def noise(*shape, seed=0, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def image():
    return noise(2, 3, 12, 10, seed=1)


@pytest.fixture
def content():
    return noise(2, 3, 12, 10, seed=2)


def test_lightness_stays_whatever_the_colours(keep_colors, image, content):
    kept = keep_colors(image, content)
    assert 0 <= float(kept.min())
    assert float(kept.max()) <= 1
    np.testing.assert_allclose(lab(kept)[..., LIGHT], lab(image)[..., LIGHT], atol=WITHIN)


def test_colours_that_srgb_has_are_the_contents(keep_colors):
    """Pale colours at middle lightness exist at any other middle lightness."""
    image, content = noise(1, 3, 8, 8, seed=1, low=0.4, high=0.6), noise(1, 3, 8, 8, seed=2, low=0.45, high=0.55)
    np.testing.assert_allclose(lab(keep_colors(image, content))[..., COLOR], lab(content)[..., COLOR], atol=WITHIN)


def test_colours_that_srgb_has_not_are_paled_towards_grey_and_no_further_than_needed(keep_colors):
    """Pure blue under the lightness of a light grey: the hue stays near, one channel touches the end of its range."""
    grey, blue = torch.full((1, 3, 1, 1), 0.8).double(), torch.tensor([0.0, 0.0, 1.0]).double().view(1, 3, 1, 1)
    kept = keep_colors(grey, blue)
    (_, a, b), (_, c, d) = lab(kept)[0, 0, 0], lab(blue)[0, 0, 0]
    assert float(kept.max()) == pytest.approx(1)
    assert 5 < np.hypot(a, b) < np.hypot(c, d)
    assert float(kept[0, 2]) > float(kept[0, 0])


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_black_and_white_stay(keep_colors, content, end):
    ends = torch.full_like(content, end)
    close(keep_colors(ends, content) + 1, ends + 1, 1e-6)


def test_a_picture_in_its_own_colours_stays(keep_colors, image):
    close(keep_colors(image, image), image, 1e-9)


def test_grey_content_takes_all_colour(keep_colors, image):
    kept = keep_colors(image, torch.full((1, 3, 5, 5), 0.5).double())
    np.testing.assert_allclose(lab(kept)[..., COLOR], 0, atol=WITHIN)


def test_strength_zero_is_the_picture_and_between_colours_lie_between(keep_colors):
    image, content = noise(1, 3, 8, 8, seed=1, low=0.4, high=0.6), noise(1, 3, 8, 8, seed=2, low=0.45, high=0.55)
    assert keep_colors(image, content * float("nan"), 0.0) is image
    expected = 0.7 * lab(image)[..., COLOR] + 0.3 * lab(content)[..., COLOR]
    np.testing.assert_allclose(lab(keep_colors(image, content, 0.3))[..., COLOR], expected, atol=WITHIN)


def test_content_is_scaled_to_the_picture(keep_colors, image):
    large = noise(1, 3, 6, 5, seed=3).repeat_interleave(8, 2).repeat_interleave(8, 3)
    kept = keep_colors(image, large)
    assert kept.shape == image.shape
    flat = torch.tensor([0.7, 0.5, 0.4]).double().view(1, 3, 1, 1)
    close(keep_colors(image, flat.expand(1, 3, 40, 7)), keep_colors(image, flat.expand_as(image)), 1e-9)


def test_one_content_serves_a_batch_and_several_serve_row_by_row(keep_colors, image, content):
    close(keep_colors(image, content[:1])[1:], keep_colors(image[1:], content[:1]))
    close(keep_colors(image, content)[1:], keep_colors(image[1:], content[1:]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_type_and_arguments_stay(keep_colors, image, content, dtype):
    image = image.to(dtype)
    before = image.clone(), content.clone()
    assert keep_colors(image, content, 0.5).dtype == dtype
    assert torch.equal(image, before[0])
    assert torch.equal(content, before[1])
