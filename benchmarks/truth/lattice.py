"""Lattices: whether hatching, dots and cells keep the order and the period that the style has.

A regular pattern is like itself a period further on, whatever its phase. So the autocorrelation of the fine part of a
picture has peaks away from its centre; a style without order has none there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from demo.render.fields import Field

from .measures import lab

FINE, LOCAL = 4.0, 8.0  # pixels: what varies slower is no pattern; the window in which contrast is made even
REACH = 24  # pixels, the longest shift that is compared
CORE = 0.05  # what is joined to the centre above this is a stroke's own width
REGULAR = 0.2  # the least peak of a picture that counts as regular

Map = NDArray[np.float64]


def lattice(image: Field, truth: Field) -> float:
    """How much of the order of ``truth`` is in ``image``: 1 for the truth, about 0 for another or no order.

    The regression of one autocorrelation on the other, beyond the centre, so that place and contrast do not count.
    NaN if the truth is not regular. Pictures ``(H,W,3)`` in 0..1, of any sizes from 48 on.
    """
    wanted, beyond = _autocorrelation(truth), ~_core(_autocorrelation(truth))
    if wanted[beyond].max() < REGULAR:
        return float("nan")
    wanted = wanted * beyond
    return float((_autocorrelation(image) * wanted).sum() / (wanted * wanted).sum())


def _autocorrelation(image: Field) -> Map:
    """``(2 REACH + 1,) * 2``, 1 in the middle; each shift over the pixels that it has in common."""
    lightness = lab(image)[..., 0].astype(np.float64)
    fine = lightness - gaussian_filter(lightness, FINE, mode="reflect")
    fine /= np.maximum(np.sqrt(gaussian_filter(fine * fine, LOCAL, mode="reflect")), 1.0)
    sums, counts = (_shifted_products(plane) for plane in (fine, np.ones_like(fine)))
    mean = sums / counts
    return mean / max(mean[REACH, REACH], 1e-12)


def _shifted_products(plane: Map) -> Map:
    twice = tuple(2 * side for side in plane.shape)
    products = np.fft.irfft2(np.abs(np.fft.rfft2(plane, twice)) ** 2, twice)
    return np.roll(products, (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]


def _core(autocorrelation: Map) -> NDArray[np.bool_]:
    """The peak in the middle, which every picture has, and what lies beyond the reach."""
    down, right = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    parts, _ = label(autocorrelation > CORE)
    return (parts == parts[REACH, REACH]) | (np.hypot(down, right) > REACH)
