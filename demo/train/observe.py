"""Facts of a rendered picture: from the scene's own numbers, and from average colours of what was drawn."""

from __future__ import annotations

import colorsys

import numpy as np

from ..render import scene
from ..render.casting import HAIR, SKIN
from ..render.scene import Face
from ..text.facts import CLASSES, Facts
from .faces import Seen

HUES = ((15, "red"), (45, "brown"), (70, "yellow"), (165, "green"), (200, "teal"), (255, "blue"), (325, "purple"))
GREY = 0.2  # saturation below which a colour has no hue
BLACK, WHITE = 0.33, 0.66  # values of a grey; a colour below half of `BLACK` is black too
DARK, LIGHT = 0.38, 0.62  # values of a colour outside of which its shade is worth a word
SKINS = ("fair", "fair", "tan", "tan", "dark", "dark")  # by the row of `SKIN`
SERIOUS, SMILING, OPEN = 0.03, 0.10, 0.025  # curvature of the mouth, width of its gap
YOUNG, OLD = 0.25, 0.6  # depth of age lines
FRECKLED = 0.35


def color_name(rgb: tuple[float, float, float]) -> str:
    """One of `facts.COLORS`."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    if saturation < GREY or value < BLACK / 2:
        return "black" if value < BLACK else "grey" if value < WHITE else "white"
    return next((name for end, name in HUES if hue * 360 < end), "red")


def shade(rgb: tuple[float, float, float]) -> str | None:
    """ "dark", "light", or neither, of a colour that has a hue."""
    value = max(rgb)
    if color_name(rgb) in ("black", "grey", "white"):
        return None
    return "dark" if value < DARK else "light" if value > LIGHT else None


def hair_name(tone: np.ndarray) -> str:
    """The row of `HAIR` that is closest to `tone` (3,) but for brightness."""
    scales = np.linspace(0.85, 1.15, 13)[:, None]
    errors = [(np.abs(tone - row * scales).sum(1) / (row.sum() * scales[:, 0])).min() for row in HAIR]
    return CLASSES["hair"][int(np.argmin(errors))]


def mouth_name(face: Face) -> str | None:
    """An open mouth is open whatever its corners do."""
    if face.mouth_open > OPEN:
        return "open"
    return "serious" if face.smile < SERIOUS else "smiling" if face.smile > SMILING else None


def facts(seen: Seen) -> Facts:
    """What a prompt can say of this picture."""
    portrait = scene(seen.seed)
    face, hair, clothes = portrait.face, portrait.hair, portrait.clothes
    return Facts(
        hair=hair_name(hair.tone),
        cut=hair.cut,
        skin=SKINS[int(np.abs(SKIN - face.skin).sum(1).argmin())],
        glasses="glasses" if face.glasses else "none",
        beard="beard" if face.beard else "moustache" if face.moustache else "none",
        mouth=mouth_name(face),
        age="young" if face.age < YOUNG else "old" if face.age > OLD else None,
        garment=clothes.garment,
        pattern=clothes.pattern,
        cloth=color_name(seen.body),
        backdrop=portrait.backdrop.kind,
        background=color_name(seen.background),
        style=seen.style,
        cloth_shade=shade(seen.body),
        background_shade=shade(seen.background),
        freckles=face.freckles > FRECKLED,
        earring=face.earring,
    )
