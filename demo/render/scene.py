"""What is in a portrait: parameters drawn from a seed. Angles in radians, lengths in head or frame units."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from .fields import Field, color

SKIN = np.array(
    [[0.97, 0.82, 0.73], [0.93, 0.74, 0.61], [0.85, 0.64, 0.49], [0.70, 0.48, 0.34], [0.52, 0.33, 0.23], [0.36, 0.22, 0.16]],
    np.float32,
)
HAIR = np.array(
    [[0.07, 0.05, 0.05], [0.16, 0.10, 0.07], [0.30, 0.18, 0.10], [0.50, 0.31, 0.15], [0.78, 0.60, 0.34], [0.55, 0.20, 0.09],
     [0.60, 0.58, 0.56], [0.86, 0.84, 0.80]],
    np.float32,
)  # fmt: skip
IRIS = np.array([[0.22, 0.12, 0.06], [0.36, 0.24, 0.11], [0.30, 0.42, 0.25], [0.28, 0.45, 0.62]], np.float32)
HAIR_CUTS = ("short", "swept", "bangs", "long", "wavy", "bob", "curly", "bun", "quiff", "cropped")
GARMENTS = ("crew", "vee", "shirt", "suit", "turtle", "hoodie", "scarf")
PATTERNS = ("plain", "plain", "stripes", "checks", "knit")
BACKDROPS = ("studio", "bokeh", "hills", "window", "shelf", "foliage")


@dataclass(frozen=True, eq=False)
class Pose:
    """Head centre (frame), half height (frame), rotation."""

    x: float
    y: float
    height: float
    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """Shape and colour of the head, in head units (half height = 1)."""

    width: float
    jaw: float
    chin: float
    skin: Field
    blush: float
    lips: float
    age: float
    freckles: float
    eye_gap: float
    eye_size: float
    eye_open: float
    eye_tilt: float
    iris: Field
    gaze: tuple[float, float]
    brow_height: float
    brow_weight: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_height: float
    mouth_width: float
    smile: float
    lip_height: float
    mouth_open: float
    beard: float
    moustache: float
    glasses: float
    glasses_round: float
    earring: bool


@dataclass(frozen=True, eq=False)
class Hair:
    """Cut, colour and flow of the hair."""

    cut: str
    tone: Field
    volume: float
    hairline: float
    part: float
    length: float
    wave: float
    fineness: float
    seed: int


@dataclass(frozen=True, eq=False)
class Clothes:
    """Garment and its pattern."""

    garment: str
    pattern: str
    main: Field
    second: Field
    pitch: float
    shoulders: float
    slope: float
    seed: int


@dataclass(frozen=True, eq=False)
class Light:
    """Direction to the key light (unit vector, z towards the viewer) and how hard it is."""

    direction: tuple[float, float, float]
    ambient: float
    warmth: float
    rim: float


@dataclass(frozen=True, eq=False)
class Backdrop:
    """What stands behind."""

    kind: str
    first: Field
    second: Field
    angle: float
    seed: int


@dataclass(frozen=True, eq=False)
class Scene:
    """A whole portrait."""

    seed: int
    pose: Pose
    face: Face
    hair: Hair
    clothes: Clothes
    light: Light
    backdrop: Backdrop


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
    return Pose(_n(r, 0, 0.07), _n(r, -0.10, 0.05), _u(r, 0.46, 0.64), _n(r, 0, 0.32), _n(r, 0.0, 0.13), _n(r, 0, 0.09))


def _face(r: np.random.Generator) -> Face:
    bearded = r.uniform() < 0.2
    return Face(
        width=_u(r, 0.66, 0.76), jaw=_u(r, 0.50, 0.64), chin=_u(r, 0.90, 1.0), skin=_between(r, SKIN[[0, 0, 1, 1, 2, 3, 4, 5]]),
        blush=_u(r, 0.1, 0.5), lips=_u(r, 0.15, 0.8), age=max(0.0, _u(r, -0.4, 1.0)), freckles=max(0.0, _u(r, -2.0, 1.0)),
        eye_gap=_u(r, 0.285, 0.335), eye_size=_u(r, 0.125, 0.16), eye_open=_u(r, 0.36, 0.58), eye_tilt=_n(r, 0, 0.07),
        iris=_between(r, IRIS), gaze=(_n(r, 0, 0.13), _n(r, 0, 0.06)), brow_height=_u(r, 0.16, 0.22), brow_weight=_u(r, 0.018, 0.038),
        brow_tilt=_n(r, 0, 0.10), nose_length=_u(r, 0.30, 0.40), nose_width=_u(r, 0.085, 0.13), nose_height=_u(r, 0.16, 0.28),
        mouth_width=_u(r, 0.20, 0.28), smile=_n(r, 0.07, 0.09), lip_height=_u(r, 0.035, 0.065), mouth_open=max(0.0, _n(r, -0.01, 0.035)),
        beard=_u(r, 0.35, 1.0) if bearded else 0.0, moustache=_u(r, 0.4, 1.0) if bearded or r.uniform() < 0.05 else 0.0,
        glasses=_u(r, 0.6, 1.0) if r.uniform() < 0.18 else 0.0, glasses_round=_u(r, 2.0, 4.5), earring=bool(r.uniform() < 0.15),
    )  # fmt: skip


def _hair(r: np.random.Generator) -> Hair:
    tone = HAIR[r.integers(len(HAIR))] * np.float32(r.uniform(0.85, 1.15))
    return Hair(
        cut=str(r.choice(HAIR_CUTS)), tone=np.clip(tone, 0, 1), volume=_u(r, 1.07, 1.17), hairline=_u(r, -0.68, -0.50),
        part=_n(r, 0, 0.28), length=_u(r, 0.0, 1.0), wave=_u(r, 0.2, 1.0), fineness=_u(r, 7.0, 12.0), seed=int(r.integers(1 << 16)),
    )  # fmt: skip


def _clothes(r: np.random.Generator) -> Clothes:
    return Clothes(
        garment=str(r.choice(GARMENTS)), pattern=str(r.choice(PATTERNS)), main=_hsv(r, (0.1, 0.8), (0.18, 0.9)),
        second=_hsv(r, (0.1, 0.8), (0.2, 0.95)), pitch=_u(r, 0.10, 0.2), shoulders=_u(r, 0.78, 1.0), slope=_u(r, 0.16, 0.34),
        seed=int(r.integers(1 << 16)),
    )  # fmt: skip


def _light(r: np.random.Generator) -> Light:
    v = np.array([_u(r, -0.85, 0.85), _u(r, -0.8, -0.1), _u(r, 0.6, 1.0)])
    x, y, z = (v / np.linalg.norm(v)).tolist()
    return Light((x, y, z), ambient=_u(r, 0.38, 0.60), warmth=_n(r, 0.02, 0.06), rim=max(0.0, _u(r, -0.3, 0.5)))


def _backdrop(r: np.random.Generator) -> Backdrop:
    return Backdrop(
        str(r.choice(BACKDROPS)), _hsv(r, (0.05, 0.6), (0.25, 0.95)), _hsv(r, (0.05, 0.6), (0.12, 0.9)), _u(r, 0, 6.2832),
        int(r.integers(1 << 16)),
    )  # fmt: skip
