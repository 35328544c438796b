"""Draws a portrait's parameters from a seed."""

from __future__ import annotations

import colorsys

import numpy as np

from .fields import Field, color
from .scene import BACKDROPS, GARMENTS, HAIR_CUTS, PATTERNS, Backdrop, Clothes, Face, Hair, Light, Pose, Scene

SKIN = np.array(
    [
        [0.97, 0.82, 0.73],
        [0.93, 0.74, 0.61],
        [0.85, 0.64, 0.49],
        [0.70, 0.48, 0.34],
        [0.52, 0.33, 0.23],
        [0.36, 0.22, 0.16],
    ],
    np.float32,
)
HAIR = np.array(
    [
        [0.07, 0.05, 0.05],
        [0.16, 0.10, 0.07],
        [0.30, 0.18, 0.10],
        [0.50, 0.31, 0.15],
        [0.78, 0.60, 0.34],
        [0.55, 0.20, 0.09],
        [0.60, 0.58, 0.56],
        [0.86, 0.84, 0.80],
    ],
    np.float32,
)
IRIS = np.array([[0.22, 0.12, 0.06], [0.36, 0.24, 0.11], [0.30, 0.42, 0.25], [0.28, 0.45, 0.62]], np.float32)


def scene(seed: int) -> Scene:
    """The portrait of `seed`: the same person, clothes, light and place at every size."""
    r = np.random.default_rng(seed)
    hair = _hair(r)
    return Scene(int(seed), _pose(r), _face(r), hair, _clothes(r), _light(r), _backdrop(r))


def _u(r: np.random.Generator, low: float, high: float) -> float:
    return float(r.uniform(low, high))


def _n(r: np.random.Generator, mean: float, deviation: float, limit: float = 2.0) -> float:
    return float(mean + deviation * np.clip(r.normal(), -limit, limit))


def _hsv(r: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Field:
    return color(*colorsys.hsv_to_rgb(_u(r, 0, 1), _u(r, *saturation), _u(r, *value)))


def _between(r: np.random.Generator, table: Field) -> Field:
    """A random blend of two neighbouring rows."""
    place = _u(r, 0, len(table) - 1)
    row = min(int(place), len(table) - 2)
    return table[row] + np.float32(place - row) * (table[row + 1] - table[row])


def _pose(r: np.random.Generator) -> Pose:
    return Pose(
        _n(r, 0, 0.07),
        _n(r, -0.10, 0.05),
        _u(r, 0.46, 0.64),
        _n(r, 0, 0.32),
        _n(r, 0.0, 0.13),
        _n(r, 0, 0.09),
    )


def _face(r: np.random.Generator) -> Face:
    bearded = r.uniform() < 0.2
    return Face(
        width=_u(r, 0.66, 0.76),
        jaw=_u(r, 0.50, 0.64),
        chin=_u(r, 0.90, 1.0),
        skin=_between(r, SKIN[[0, 0, 1, 1, 2, 3, 4, 5]]),
        blush=_u(r, 0.1, 0.5),
        lips=_u(r, 0.15, 0.8),
        age=max(0.0, _u(r, -0.4, 1.0)),
        freckles=max(0.0, _u(r, -2.0, 1.0)),
        eye_gap=_u(r, 0.285, 0.335),
        eye_size=_u(r, 0.125, 0.16),
        eye_open=_u(r, 0.36, 0.58),
        eye_tilt=_n(r, 0, 0.07),
        iris=_between(r, IRIS),
        gaze=(_n(r, 0, 0.13), _n(r, 0, 0.06)),
        brow_height=_u(r, 0.16, 0.22),
        brow_weight=_u(r, 0.018, 0.038),
        brow_tilt=_n(r, 0, 0.10),
        nose_length=_u(r, 0.30, 0.40),
        nose_width=_u(r, 0.085, 0.13),
        nose_height=_u(r, 0.16, 0.28),
        mouth_width=_u(r, 0.20, 0.28),
        smile=_n(r, 0.07, 0.09),
        lip_height=_u(r, 0.035, 0.065),
        mouth_open=max(0.0, _n(r, -0.01, 0.035)),
        beard=_u(r, 0.35, 1.0) if bearded else 0.0,
        moustache=_u(r, 0.4, 1.0) if bearded or r.uniform() < 0.05 else 0.0,
        glasses=_u(r, 0.6, 1.0) if r.uniform() < 0.18 else 0.0,
        glasses_round=_u(r, 2.0, 4.5),
        earring=bool(r.uniform() < 0.15),
    )


def _hair(r: np.random.Generator) -> Hair:
    tone = HAIR[r.integers(len(HAIR))] * np.float32(r.uniform(0.85, 1.15))
    return Hair(
        cut=str(r.choice(HAIR_CUTS)),
        tone=np.clip(tone, 0, 1),
        volume=_u(r, 1.07, 1.17),
        hairline=_u(r, -0.68, -0.50),
        part=_n(r, 0, 0.28),
        length=_u(r, 0.0, 1.0),
        wave=_u(r, 0.2, 1.0),
        fineness=_u(r, 7.0, 12.0),
        seed=int(r.integers(1 << 16)),
    )


def _clothes(r: np.random.Generator) -> Clothes:
    return Clothes(
        garment=str(r.choice(GARMENTS)),
        pattern=str(r.choice(PATTERNS)),
        main=_hsv(r, (0.1, 0.8), (0.18, 0.9)),
        second=_hsv(r, (0.1, 0.8), (0.2, 0.95)),
        pitch=_u(r, 0.10, 0.2),
        shoulders=_u(r, 0.78, 1.0),
        slope=_u(r, 0.16, 0.34),
        seed=int(r.integers(1 << 16)),
    )


def _light(r: np.random.Generator) -> Light:
    v = np.array([_u(r, -0.85, 0.85), _u(r, -0.8, -0.1), _u(r, 0.6, 1.0)])
    x, y, z = (v / np.linalg.norm(v)).tolist()
    return Light((x, y, z), ambient=_u(r, 0.38, 0.60), warmth=_n(r, 0.02, 0.06), rim=max(0.0, _u(r, -0.3, 0.5)))


def _backdrop(r: np.random.Generator) -> Backdrop:
    return Backdrop(
        str(r.choice(BACKDROPS)),
        _hsv(r, (0.05, 0.6), (0.25, 0.95)),
        _hsv(r, (0.05, 0.6), (0.12, 0.9)),
        _u(r, 0, 6.2832),
        int(r.integers(1 << 16)),
    )
