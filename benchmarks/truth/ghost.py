"""Ghosts: whether the layout of the style picture shows through in a stylized one.

A style moves colours and paint, not things. So what the stylized picture has of light and dark beyond the content's own
should be found in the style picture nowhere; where it is, an edge of a meadow cuts a face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from demo.render.fields import Field

from .measures import lab

BLUR = 1 / 32  # of the side: paint goes, things stay
STEP = 1 / 8  # of the side, between the shifts that are tried
MOST = 64  # pixels of a side that is compared
NOTHING = 1e-6  # of lightness: a picture with less beyond the content has no layout of its own

Light = NDArray[np.float64]


def ghost(image: Field, content: Field, style: Field, others: Sequence[Field]) -> float:
    """How much of the style picture's layout is in ``image``, wherever it lies and mirrored or not, -1 to 1.

    The largest correlation of blurred lightness over all shifts, the content's regressed out of both, less the mean of
    what pictures of ``others`` reach, which nobody used: that much comes by chance. All pictures have one size.
    """
    return _beyond_chance(image, content, style, others, np.max)


def in_place(image: Field, content: Field, style: Field, others: Sequence[Field]) -> float:
    """How much of the style picture's layout is in ``image`` at its own place, -1 to 1: the same correlation without
    shifts and mirrors, less the mean of what pictures of ``others`` have there."""
    return _beyond_chance(image, content, style, others, lambda found: found[0, 0, 0])


def _beyond_chance(
    image: Field, content: Field, style: Field, others: Sequence[Field], chosen: Callable[[Light], float]
) -> float:
    if not others:
        raise ValueError("A ghost is told from chance by other pictures; got none.")
    base = _light(content)
    seen = _beyond(_light(image), base)
    found = [float(chosen(_correlations(seen, _light(picture), base))) for picture in (style, *others)]
    return found[0] - float(np.mean(found[1:]))


def _light(image: Field) -> Light:
    """Blurred lightness, not larger than it need be."""
    lightness = lab(image)[..., 0].astype(np.float64)
    blurred = gaussian_filter(lightness, BLUR * max(lightness.shape), mode="nearest")
    every = max(1, max(lightness.shape) // MOST)
    return blurred[::every, ::every]


def _beyond(light: Light, base: Light) -> Light:
    """What is not explained by ``base``, of length 1; zeros if that is nothing."""
    light, base = light - light.mean(), base - base.mean()
    rest = light - base * (light * base).sum() / max((base * base).sum(), 1e-12)
    length = np.linalg.norm(rest)
    return rest / length if length > NOTHING else np.zeros_like(rest)


def _correlations(seen: Light, light: Light, base: Light) -> Light:
    """Of ``seen`` with what ``light`` has beyond ``base``: as it is and mirrored, by shifts around the edges.

    ``seen`` has nothing of ``base``, so its product with the rest of a picture is its product with the picture; the
    length of the rest is that of the picture less its share of ``base``. So two products by Fourier transform do.
    """
    base, light = base - base.mean(), light - light.mean()
    base = base / max(np.linalg.norm(base), 1e-6)
    down, right = (np.rint(np.arange(0, 1, STEP) * side).astype(int) for side in light.shape)
    found = []
    for turned in (light, light[:, ::-1]):
        moved = np.fft.rfft2(turned)
        products = (np.fft.irfft2(np.fft.rfft2(one) * moved.conj(), light.shape) for one in (seen, base))
        top, shared = (product[np.ix_(down, right)] for product in products)
        length = np.sqrt(np.maximum((turned * turned).sum() - shared**2, 0.0))
        found.append(np.where(length > NOTHING, top / np.maximum(length, NOTHING), 0.0))
    return np.stack(found)
