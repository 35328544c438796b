"""Drawing kit: pixel grid, soft coverage, noise, blending. Lengths are fractions of the frame, never pixels.

The frame spans -1..1 in x (right) and y (down). Images are float32 (S, S, 3) in 0..1, masks (S, S). A `Field`
is a NumPy array or, in a picture drawn on a device, a torch tensor (see `backend`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import NUMPY, namespace

Field = NDArray[np.float32]
LUMA = (0.299, 0.587, 0.114)
_TABLE_SIZE = 256
_TABLE = np.random.default_rng(20240916).uniform(-1, 1, (_TABLE_SIZE, _TABLE_SIZE)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixel centres of a square picture."""

    x: Field
    y: Field
    size: int

    @property
    def pixel(self) -> float:
        """Width of a pixel in frame units."""
        return 2.0 / self.size


@lru_cache(maxsize=8)
def grid(size: int, xp: Any = NUMPY) -> Grid:
    """The grid of a picture of `size` x `size` pixels, in arrays of the library `xp`."""
    axis = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return Grid(xp.asarray(x), xp.asarray(y), size)


def color(*rgb: float) -> Field:
    """A colour as float32 (3,)."""
    return np.array(rgb, np.float32)


def inside(distance: Field, width: float) -> Field:
    """Soft coverage of the region distance < 0; the edge is `width` wide (same units as `distance`)."""
    return namespace(distance).clip(0.5 - distance / width, 0.0, 1.0)


def rise(value: Field, low: float, high: float) -> Field:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = namespace(value).clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bell(dx: Field, dy: Field | float, width: float) -> Field:
    """Gaussian bump of standard deviation `width`."""
    return namespace(dx).exp((dx * dx + dy * dy) * (-0.5 / (width * width)))


def over(base: Field, paint: Field, mask: Field) -> Field:
    """`paint` (3,) or (S, S, 3) laid over `base` (S, S, 3) with opacity `mask` (S, S)."""
    return base + (paint - base) * mask[..., None]


def soft_min(a: Field, b: Field, radius: float) -> Field:
    """Minimum with a rounded crease: the union of two distance fields that melts within `radius`."""
    h = namespace(a).clip(0.5 + 0.5 * (b - a) / radius, 0.0, 1.0)
    return b + (a - b) * h - radius * h * (1.0 - h)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur; `sigma` in frame units (the frame is 2 wide). Works on fields and images."""
    return namespace(field).gaussian(field, sigma * field.shape[0] / 2.0)


@lru_cache(maxsize=8)
def _table(xp: Any) -> Field:
    """The random numbers of `noise`, drawn once."""
    return xp.asarray(_TABLE)


def noise(x: Field, y: Field, seed: int = 0) -> Field:
    """Smooth value noise in -1..1 with unit pitch at any coordinates; repeats after 256."""
    xp = namespace(x)
    table = _table(xp)
    x0, y0 = xp.floor(x), xp.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    ox, oy = (seed * 73 + 17) % _TABLE_SIZE, (seed * 151 + 89) % _TABLE_SIZE
    i0, j0 = (xp.integers(x0) + ox) % _TABLE_SIZE, (xp.integers(y0) + oy) % _TABLE_SIZE
    i1, j1 = (i0 + 1) % _TABLE_SIZE, (j0 + 1) % _TABLE_SIZE
    top = table[j0, i0] * (1 - fx) + table[j0, i1] * fx
    bottom = table[j1, i0] * (1 - fx) + table[j1, i1] * fx
    return top * (1 - fy) + bottom * fy


def cloud(x: Field, y: Field, seed: int = 0, octaves: int = 3) -> Field:
    """Several octaves of noise, about -1..1."""
    total, gain, norm = namespace(x).zeros_like(x), 1.0, 0.0
    for octave in range(octaves):
        scale = 2.03**octave
        total += gain * noise(x * scale, y * scale, seed + 31 * octave)
        norm += gain * gain
        gain *= 0.5
    return total / math.sqrt(norm)


def luma(image: Field) -> Field:
    """Perceived brightness (S, S) of an image (S, S, 3)."""
    return image @ namespace(image).color(*LUMA)
