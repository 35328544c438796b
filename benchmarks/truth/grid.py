"""How much of a grid of 4 px a picture shows: the screen that a codec of 4x4 patches may leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from demo.codec import PATCH
from demo.render.fields import Field

BLUR = 4.0  # px: a screen of 4 px and grain vanish, edges of things stay
FLAT = 0.7  # share of the picture that counts as flat ground
UNSEEN = 1e-4  # of 1: steps so small are no grid


def grid(image: Field) -> float:
    """Steps between neighbouring pixels at borders of cells over steps elsewhere, on flat ground; 1 means no grid.

    `image` is (H, W, 3) in 0..1, at least 8 px wide and high, the first cell in the corner. Flat ground is where the
    blurred picture changes least. A step is measured by the steps around it, so that no place outweighs the others.
    """
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 2 * PATCH:
        raise ValueError(f"Expected a picture (H, W, 3) of {2 * PATCH} px or more; got {image.shape}.")
    flat, borders, elsewhere = _flat(image), [], []
    for axis in (0, 1):
        steps = np.abs(np.diff(image.astype(np.float64), axis=axis)).mean(2)
        steps = (steps + UNSEEN) / (gaussian_filter(steps, BLUR) + UNSEEN)
        first, second = flat.take(range(steps.shape[axis]), axis), flat.take(range(1, steps.shape[axis] + 1), axis)
        at_border = np.arange(steps.shape[axis]) % PATCH == PATCH - 1
        for found, chosen in ((borders, at_border), (elsewhere, ~at_border)):
            found.append(steps.compress(chosen, axis)[(first & second).compress(chosen, axis)])
    return float(np.concatenate(borders).mean() / np.concatenate(elsewhere).mean())


def _flat(image: Field) -> NDArray[np.bool_]:
    """Flat ground of a picture (H, W, 3): (H, W)."""
    blurred = gaussian_filter(image.astype(np.float64), (BLUR, BLUR, 0), mode="nearest")
    change = sum(np.square(part).sum(2) for part in np.gradient(blurred, axis=(0, 1)))
    return change <= np.quantile(change, FLAT)
