"""Ghosts: whether the layout of the style picture shows through in a stylized one.

A style moves colours and paint, not things. So what the stylized picture has of light and dark beyond the content's own
should be found in the style picture nowhere; where it is, an edge of a meadow cuts a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from demo.render.fields import Field

from .measures import lab

BLUR = 1 / 32  # of the side: paint goes, things stay
STEP = 1 / 8  # of the side, between the shifts that are tried
MOST = 64  # pixels of a side that is compared

Light = NDArray[np.float64]


def ghost(image: Field, content: Field, style: Field, others: Sequence[Field]) -> float:
    """How much of the style picture's layout is in ``image``, wherever it lies and mirrored or not, -1 to 1.

    The largest correlation of blurred lightness over all shifts, the content's regressed out of both, less the mean of
    what pictures of ``others`` reach, which nobody used: that much comes by chance. All pictures have one size.
    """
    base = _light(content)
    seen = _beyond(_light(image), base)
    chance = [_largest(seen, _light(other), base) for other in others]
    return _largest(seen, _light(style), base) - float(np.mean(chance))


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
    return rest / length if length > 1e-6 else np.zeros_like(rest)


def _largest(seen: Light, light: Light, base: Light) -> float:
    """The largest correlation over shifts, around the edges, and mirror images."""
    height, width = light.shape
    turns = range(round(1 / STEP))
    found = []
    for turned in (light, light[:, ::-1]):
        for down, right in product(turns, turns):
            moved = np.roll(turned, (round(down * STEP * height), round(right * STEP * width)), (0, 1))
            found.append(float((seen * _beyond(moved, base)).sum()))
    return max(found)
