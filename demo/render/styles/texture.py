"""Textures of the styles, anchored to the canvas, the same at every size. Lengths: fractions of the side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

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


def unit_grid(size: int) -> tuple[Field, Field]:
    """Pixel centres x, y in 0..1."""
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def smooth(image: Field, sigma: float) -> Field:
    """Gaussian blur by a fraction of the side."""
    s = sigma * image.shape[0]
    return gaussian_filter(image, (s, s, 0.0)[: image.ndim], mode="nearest", truncate=3.0)


def grain(size: int, pitch: float, seed: int) -> Field:
    """Smooth noise in -1..1 with features of `pitch`."""
    x, y = unit_grid(size)
    return noise(x / pitch, y / pitch, seed)


def flow_field(light: Field, seed: int, swirl: float) -> Field:
    """Direction (radians) along the picture's contours, drifting with slow noise where there are none."""
    size = light.shape[0]
    gy, gx = np.gradient(smooth(light, 1 / 80))
    xx, yy, xy = (smooth(a, 1 / 26) for a in (gx * gx, gy * gy, gx * gy))
    energy = xx + yy
    trust = energy / (energy + 0.35 * energy.mean() + 1e-9)
    drift = 2.0 * np.pi * swirl * grain(size, 0.45, seed)
    along = np.arctan2(-2.0 * xy, yy - xx)  # twice the contour's angle
    c = trust * np.cos(along) + (1 - trust) * np.cos(drift)
    s = trust * np.sin(along) + (1 - trust) * np.sin(drift)
    return (0.5 * np.arctan2(s, c)).astype(np.float32)


def smear(texture: Field, angle: Field, length: float) -> Field:
    """Texture averaged along `angle` over `length` both ways (line integral convolution)."""
    size = texture.shape[0]
    reach = max(2, round(length * size))
    hops = min(reach, 12)
    step = reach / hops
    rows, columns = np.indices(texture.shape, dtype=np.float32)
    total, cos, sin = texture.copy(), np.cos(angle) * step, np.sin(angle) * step
    for direction in (-1.0, 1.0):
        y, x = rows.copy(), columns.copy()
        for _ in range(hops):
            j, i = _index(y, size), _index(x, size)
            x += direction * cos[j, i]
            y += direction * sin[j, i]
            total += texture[_index(y, size), _index(x, size)]
    return total / (2 * hops + 1)


def cells(size: int, pitch: float, jitter: float, seed: int) -> Cells:
    """A square lattice of `pitch` whose points are moved by up to half a pitch times `jitter`."""
    count = int(np.ceil(1.0 / pitch)) + 3
    r = np.random.default_rng(seed)
    offset = (r.uniform(-0.5, 0.5, (count, count, 2)) * jitter).astype(np.float32)
    chance = r.uniform(size=(count, count)).astype(np.float32)
    x, y = (axis / pitch + 1.0 for axis in unit_grid(size))
    row, column = y.astype(np.int32), x.astype(np.int32)
    first, second = np.full((2, size, size), 9.0, np.float32)
    best_y, best_x, best_chance = y.copy(), x.copy(), x.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            j, i = row + dy, column + dx
            py, px = j + 0.5 + offset[j, i, 0], i + 0.5 + offset[j, i, 1]
            distance = np.hypot(y - py, x - px)
            closer = distance < first
            second = np.where(closer, first, np.minimum(second, distance))
            first = np.where(closer, distance, first)
            best_y, best_x = np.where(closer, py, best_y), np.where(closer, px, best_x)
            best_chance = np.where(closer, chance[j, i], best_chance)
    row, column = (_index((p - 1.0) * pitch * size - 0.5, size) for p in (best_y, best_x))
    return Cells(row, column, first, second, best_chance)


def contours(light: Field, sigma: float) -> Field:
    """Edge strength (S, S), about 0..1, at a scale of `sigma`."""
    gy, gx = np.gradient(smooth(light, sigma))
    return np.hypot(gx, gy) * (light.shape[0] * sigma * 6.0)


def exposure(image: Field) -> Field:
    """The picture as an illustrator would expose it: range stretched, median in the middle, hues kept."""
    light = luma(image)
    low, middle, high = (float(q) for q in np.percentile(light[::2, ::2], (2, 50, 98)))
    span = high - low + 0.05
    stretched = np.clip((light - low) * (1.0 / span), 0.0, 1.0)
    gamma = float(np.clip(np.log(0.5) / np.log(np.clip((middle - low) / span, 0.08, 0.92)), 0.5, 1.5))
    target = 0.04 + 0.92 * stretched**gamma
    return np.clip(image * (0.35 + 0.65 * target / (light + 0.02))[..., None] * 0.9 + 0.1 * target[..., None], 0.0, 1.0)


def _index(position: Field, size: int) -> np.ndarray:
    return np.clip(position + 0.5, 0, size - 1).astype(np.int32)
