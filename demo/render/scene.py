"""What is in a portrait. Angles in radians, lengths in head units (half the head's height) or frame units."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Field

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
