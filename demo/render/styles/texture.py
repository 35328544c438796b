"""Textures of the styles, anchored to the canvas, the same at every size. Lengths: fractions of the side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..backend import namespace
from ..fields import Field, luma, noise


@dataclass(frozen=True, eq=False)
class Cells:
    """Nearest jittered lattice point of every pixel. row, column: pixel indices of that point; first, second:
    distances to the nearest and second nearest point in pitches; chance: a random number per cell in 0..1."""

    row: Field
    column: Field
    first: Field
    second: Field
    chance: Field


@lru_cache(maxsize=8)
def _grids(size: int, xp: Any) -> tuple[Field, ...]:
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return tuple(xp.asarray(a) for a in (*np.meshgrid(axis, axis), *np.indices((size, size), dtype=np.float32)))


def unit_grid(image: Field) -> tuple[Field, Field]:
    """Pixel centres x, y (S, S) of an image (S, S, ...) in 0..1, not to be written to."""
    return _grids(image.shape[0], namespace(image))[:2]


def pixel_grid(image: Field) -> tuple[Field, Field]:
    """Row and column (S, S) of every pixel of an image (S, S, ...), float32, not to be written to."""
    return _grids(image.shape[0], namespace(image))[2:]


def smooth(image: Field, sigma: float) -> Field:
    """Gaussian blur by a fraction of the side."""
    return namespace(image).gaussian(image, sigma * image.shape[0])


def grain(image: Field, pitch: float, seed: int) -> Field:
    """Smooth noise (S, S) in -1..1 with features of `pitch`, for an image (S, S, ...)."""
    x, y = unit_grid(image)
    return noise(x / pitch, y / pitch, seed)


def flow_field(light: Field, seed: int, swirl: float) -> Field:
    """Direction (radians) along the picture's contours, drifting with slow noise where there are none."""
    xp = namespace(light)
    gy, gx = xp.gradient(smooth(light, 1 / 80))
    xx, yy, xy = (smooth(a, 1 / 26) for a in (gx * gx, gy * gy, gx * gy))
    energy = xx + yy
    trust = energy / (energy + 0.35 * energy.mean() + 1e-9)
    drift = 2.0 * np.pi * swirl * grain(light, 0.45, seed)
    along = xp.arctan2(-2.0 * xy, yy - xx)  # twice the contour's angle
    c = trust * xp.cos(along) + (1 - trust) * xp.cos(drift)
    s = trust * xp.sin(along) + (1 - trust) * xp.sin(drift)
    return xp.floats(0.5 * xp.arctan2(s, c))


def smear(texture: Field, angle: Field, length: float) -> Field:
    """Texture averaged along `angle` over `length` both ways (line integral convolution)."""
    xp, size = namespace(texture), texture.shape[0]
    reach = max(2, round(length * size))
    hops = min(reach, 12)
    step = reach / hops
    rows, columns = pixel_grid(texture)
    total, cos, sin = xp.copy(texture), xp.cos(angle) * step, xp.sin(angle) * step
    for direction in (-1.0, 1.0):
        y, x = xp.copy(rows), xp.copy(columns)
        for _ in range(hops):
            j, i = _index(y, size), _index(x, size)
            x += direction * cos[j, i]
            y += direction * sin[j, i]
            total += texture[_index(y, size), _index(x, size)]
    return total / (2 * hops + 1)


def cells(image: Field, pitch: float, jitter: float, seed: int) -> Cells:
    """A square lattice over `image` whose points, `pitch` apart, are moved by up to half a pitch times `jitter`."""
    xp, size = namespace(image), image.shape[0]
    count = math.ceil(1.0 / pitch) + 3
    r = np.random.default_rng(seed)
    offset = xp.asarray((r.uniform(-0.5, 0.5, (count, count, 2)) * jitter).astype(np.float32))
    chance = xp.asarray(r.uniform(size=(count, count)).astype(np.float32))
    x, y = (axis / pitch + 1.0 for axis in unit_grid(image))
    row, column = xp.integers(y), xp.integers(x)
    first = second = xp.full_like(x, 9.0)
    best_y, best_x, best_chance = y, x, x
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            j, i = row + dy, column + dx
            py, px = j + 0.5 + offset[j, i, 0], i + 0.5 + offset[j, i, 1]
            distance = xp.hypot(y - py, x - px)
            closer = distance < first
            second = xp.where(closer, first, xp.minimum(second, distance))
            first = xp.where(closer, distance, first)
            best_y, best_x = xp.where(closer, py, best_y), xp.where(closer, px, best_x)
            best_chance = xp.where(closer, chance[j, i], best_chance)
    row, column = (_index((p - 1.0) * pitch * size - 0.5, size) for p in (best_y, best_x))
    return Cells(row, column, first, second, best_chance)


def contours(light: Field, sigma: float) -> Field:
    """Edge strength (S, S), about 0..1, at a scale of `sigma`."""
    xp = namespace(light)
    gy, gx = xp.gradient(smooth(light, sigma))
    return xp.hypot(gx, gy) * (light.shape[0] * sigma * 6.0)


def exposure(image: Field) -> Field:
    """The picture as an illustrator would expose it: range stretched, median in the middle, hues kept."""
    xp, light = namespace(image), luma(image)
    low, middle, high = xp.percentiles(light[::2, ::2], (2, 50, 98))
    span = high - low + 0.05
    stretched = xp.clip((light - low) * (1.0 / span), 0.0, 1.0)
    centre = xp.clip((middle - low) / span, 0.08, 0.92)
    gamma = xp.number(xp.clip(math.log(0.5) / xp.log(centre), 0.5, 1.5))
    target = 0.04 + 0.92 * stretched**gamma
    return xp.clip(image * (0.35 + 0.65 * target / (light + 0.02))[..., None] * 0.9 + 0.1 * target[..., None], 0.0, 1.0)


def _index(position: Field, size: int) -> Field:
    xp = namespace(position)
    return xp.integers(xp.clip(position + 0.5, 0, size - 1))
