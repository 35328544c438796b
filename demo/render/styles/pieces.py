"""Pictures made of pieces, and light: mosaic, pointillism, stained glass, neon."""

from __future__ import annotations

import numpy as np

from ..backend import namespace
from ..fields import Field, luma, over
from .paint import recolor, saturate
from .parameters import Style, ramp
from .prints import cut
from .texture import cells, contours, grain, smooth


def mosaic(image: Field, style: Style) -> Field:
    """Tiles in grout, each with its own shade and a lit edge."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    pitch = style.pitch * 0.9
    tile = cells(image, pitch, 0.6 * d[0], style.seed)
    paint = saturate(recolor(smooth(image, pitch * 0.3), style, style.own_color), 1.2)[tile.row, tile.column]
    paint = paint * (0.86 + 0.28 * tile.chance[..., None])
    grout = xp.broadcast_to(style.ink * 0.5 + np.float32(0.35 * d[1]), image.shape)
    return over(grout, xp.clip(paint, 0, 1), cut(tile.second - tile.first - 0.17, 3.0 / size / pitch))


def pointillism(image: Field, style: Style) -> Field:
    """Three layers of dots whose hues scatter around the picture's."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    pitch = style.pitch * 0.74
    source = recolor(image, style, 0.45 + 0.35 * d[1])
    ground = style.paper + (style.palette[2] - style.paper) * np.float32(0.35 * d[0])
    drawn = xp.broadcast_to(ground, image.shape)
    for layer in range(3):
        dot = cells(image, pitch, 0.9, style.seed + layer)
        scatter = xp.stack([dot.chance, (dot.chance * 7.3) % 1.0, (dot.chance * 3.7) % 1.0], -1) - 0.5
        paint = xp.clip(source[dot.row, dot.column] + scatter * np.float32(0.22 + 0.22 * d[2]), 0.0, 1.0)
        drawn = over(drawn, paint, cut(0.47 - dot.first, 1.5 / size / pitch))
    return drawn


def stained(image: Field, style: Style) -> Field:
    """Leaded glass: glowing panes that brighten to their middle."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    pitch = style.pitch * 1.25
    pane = cells(image, pitch, 1.0, style.seed)
    paint = saturate(recolor(smooth(image, pitch * 0.3), style, 0.2 + 0.4 * d[0]), 1.6)[pane.row, pane.column]
    glow = (0.80 + 0.40 * pane.chance) * (1.12 - 0.22 * pane.first)
    glass = xp.clip(paint * glow[..., None] + 0.03 * grain(image, 0.02, style.seed)[..., None], 0.0, 1.0)
    return over(
        xp.broadcast_to(xp.color(0.05, 0.05, 0.06), image.shape),
        glass,
        cut(pane.second - pane.first - 0.16, 3.0 / size / pitch),
    )


def neon(image: Field, style: Style) -> Field:
    """Glowing tubes along the contours in the dark."""
    xp = namespace(image)
    d = style.dials
    light = luma(image)
    tube = xp.clip(contours(light, 0.009) * 2.0 - 0.12, 0.0, 1.0)
    halo = smooth(tube, 0.020) + 0.7 * smooth(tube, 0.05)
    place = 0.5 + 0.5 * grain(image, 0.4, style.seed) + 0.35 * (light - 0.5)
    hue = saturate(ramp(xp.stack([style.palette[i] for i in (2, 3, 4, 2)]), place), 1.5)
    night = style.palette[0] * 0.25 + 0.30 * ramp(style.palette, light * 0.6)
    return night + hue * (0.9 * tube + (0.9 + 0.5 * d[0]) * halo)[..., None] + 0.45 * (tube**3)[..., None]
