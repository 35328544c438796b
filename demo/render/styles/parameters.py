"""Parameters of a style: a kind and continuous dials, all drawn from a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from ..backend import namespace
from ..fields import Field, color

KINDS = (
    "oil",
    "watercolor",
    "hatching",
    "halftone",
    "mosaic",
    "woodcut",
    "poster",
    "pastel",
    "pointillism",
    "engraving",
    "neon",
    "stained",
    "risograph",
    "charcoal",
)


@dataclass(frozen=True, eq=False)
class Style:
    """palette: (5, 3) from dark to light; pitch: size of strokes or cells as a fraction of the side; angle:
    radians; gain: contrast; own_color: share of own colours kept; paper, ink: (3,); dials: (8,) in 0..1."""

    kind: str
    seed: int
    palette: Field
    pitch: float
    angle: float
    gain: float
    own_color: float
    paper: Field
    ink: Field
    dials: tuple[float, ...]


def style(seed: int, kind: str | None = None) -> Style:
    """The style of `seed`; `kind` fixes the family and leaves the dials to the seed."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"Unknown style {kind!r}; choose one of {', '.join(KINDS)}.")
    r = np.random.default_rng(seed)
    drawn = str(r.choice(KINDS))
    return Style(
        kind=kind or drawn,
        seed=int(seed),
        palette=_palette(r),
        pitch=float(r.uniform(0.036, 0.062)),
        angle=float(r.uniform(0, np.pi)),
        gain=float(r.uniform(0.9, 1.3)),
        own_color=float(r.uniform(0.1, 0.65)),
        paper=_hsv(r.uniform(), r.uniform(0.03, 0.32), r.uniform(0.86, 1.0)),
        ink=_hsv(r.uniform(), r.uniform(0.2, 0.9), r.uniform(0.05, 0.40)),
        dials=tuple(r.uniform(size=8).tolist()),
    )


def ramp(palette: Field, light: Field) -> Field:
    """Colour (S, S, 3) of brightness 0..1 along the rows of `palette`."""
    xp = namespace(light)
    place = xp.clip(light, 0.0, 1.0) * (len(palette) - 1)
    row = xp.minimum(xp.integers(place), len(palette) - 2)
    return palette[row] + (place - row)[..., None] * (palette[row + 1] - palette[row])


def _palette(r: np.random.Generator) -> Field:
    """Five colours from dark to light around two hues."""
    hue, apart = r.uniform(), r.choice([0.08, 0.33, 0.5, 0.42])
    rows = []
    for i in range(5):
        h = hue + (i % 2) * apart + r.normal(0, 0.03)
        saturation = r.uniform(0.55, 1.0) * (1.05 - 0.75 * (i / 4) ** 2)
        rows.append(_hsv(h, saturation, 0.10 + 0.88 * i / 4 + 0.15 * (i > 0)))
    return np.stack(rows)


def _hsv(h: float, s: float, v: float) -> Field:
    return color(*colorsys.hsv_to_rgb(h % 1.0, min(1.0, s), min(1.0, v)))
