"""Brush and crayon: oil, watercolor, pastel, charcoal."""

from __future__ import annotations

import numpy as np

from ..backend import namespace
from ..fields import Field, luma, over, rise
from .parameters import Style, ramp
from .texture import contours, flow_field, grain, pixel_grid, smear, smooth


def recolor(image: Field, style: Style, own: float) -> Field:
    """The picture in the style's palette, keeping the share `own` of its colours."""
    xp = namespace(image)
    mapped = ramp(style.palette, (luma(image) - 0.5) * style.gain + 0.52)
    return xp.clip(mapped + (image - mapped) * np.float32(own), 0.0, 1.0)


def saturate(image: Field, factor: float) -> Field:
    """Colours moved away from their grey."""
    xp = namespace(image)
    grey = image.mean(-1, keepdims=True)
    return xp.clip(grey + (image - grey) * np.float32(factor), 0.0, 1.0)


def oil(image: Field, style: Style) -> Field:
    """Broad strokes along the contours, with the relief of thick paint."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    angle = flow_field(luma(image), style.seed, 1.0)
    bristle = smear(grain(image, 0.020 + 0.012 * d[0], style.seed), angle, 0.035 + 0.03 * d[1])
    bristle = bristle / (xp.std(bristle) + 1e-6)
    wide = smear(grain(image, 0.05, style.seed + 1), angle, 0.05)
    wide = wide / (xp.std(wide) + 1e-6)
    body = smooth(image, 0.010)
    moved = 0.055 * wide * rise(contours(luma(body), 0.012), 0.0, 0.25)
    paint = saturate(recolor(xp.clip(body + moved[..., None], 0, 1), style, 0.25 + 0.4 * d[2]), 1.15 + 0.5 * d[3])
    gy, gx = xp.gradient(bristle)
    relief = (gx * np.cos(style.angle) + gy * np.sin(style.angle)) * (size / 128.0)
    tone = (0.055 + 0.05 * d[4]) * bristle + 0.03 * wide + 0.03 * relief
    return paint + tone[..., None] * xp.color(1.1, 1.0, 0.85)


def watercolor(image: Field, style: Style) -> Field:
    """Washes with wandering borders that dry darker, blooming on grained paper."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    rows, columns = pixel_grid(image)
    wander = size * (0.010 + 0.012 * d[1])
    rows = rows + wander * grain(image, 0.09, style.seed + 1)
    columns = columns + wander * grain(image, 0.09, style.seed + 2)
    image = xp.bilinear(image, rows, columns)
    wash = smooth(image, 0.016)
    levels = xp.round(wash * 4.5) / 4.5
    wash = smooth(levels, 0.004) * 0.6 + wash * 0.4
    rim = xp.clip(contours(luma(levels), 0.006) * 0.9, 0.0, 0.6)
    pool = 0.64 + 0.22 * grain(image, 0.13, style.seed) + 0.10 * grain(image, 0.05, style.seed + 4)
    paint = over(
        xp.broadcast_to(style.paper, image.shape),
        saturate(recolor(wash, style, 0.45 + 0.35 * d[0]), 1.35),
        pool,
    )
    bright = rise(luma(wash), 0.72, 0.95)
    paint = over(paint, style.paper, 0.75 * bright)
    return paint * (1.0 - 0.55 * rim)[..., None] + 0.05 * grain(image, 0.017, style.seed + 3)[..., None]


def pastel(image: Field, style: Style) -> Field:
    """Chalk rubbed over toothed paper in one main direction; the paper shows between the strokes."""
    xp = namespace(image)
    d = style.dials
    angle = style.angle + 0.5 * grain(image, 0.3, style.seed)
    stroke = smear(grain(image, 0.016, style.seed + 1), angle, 0.028)
    cross = smear(grain(image, 0.018, style.seed + 2), angle + 0.9, 0.025)
    stroke, cross = stroke / (xp.std(stroke) + 1e-6), cross / (xp.std(cross) + 1e-6)
    tooth = grain(image, 0.013, style.seed + 3)
    light = luma(image)
    dark_paper = d[1] < 0.55
    paper = style.ink * 0.75 + 0.08 if dark_paper else style.paper * 0.92
    chalk = saturate(recolor(smooth(image, 0.012), style, 0.30 + 0.35 * d[0]), 1.5)
    chalk = xp.clip(chalk * 0.80 + 0.20 + 0.05 * cross[..., None] * xp.color(1.2, 0.2, -1.0), 0, 1)
    pressure = (0.20 + 0.75 * light) if dark_paper else (0.95 - 0.55 * light)
    cover = rise(1.3 * pressure - 0.45 + 0.20 * stroke + 0.22 * tooth, -0.25, 0.55)
    drawn = over(xp.broadcast_to(paper, image.shape), chalk, 0.93 * cover)
    return over(
        drawn,
        style.ink * 0.5,
        0.65 * xp.clip(contours(light, 0.010) * 1.3 - 0.12, 0, 1) * rise(stroke, -0.8, 0.6),
    )


def charcoal(image: Field, style: Style) -> Field:
    """Soft black and white on tinted paper, smudged along the contours, with hard accents."""
    xp = namespace(image)
    d = style.dials
    light = luma(image)
    angle = flow_field(light, style.seed, 0.3)
    smudge = smear(grain(image, 0.015, style.seed), angle, 0.022)
    smudge = smudge / (xp.std(smudge) + 1e-6)
    tooth = grain(image, 0.014, style.seed + 2)
    paper = style.paper * np.float32(0.62 + 0.25 * d[0])
    dark = rise((0.60 - smooth(light, 0.005)) * 1.5 * style.gain + 0.10 * smudge + 0.14 * tooth, -0.05, 0.85)
    dark = xp.maximum(
        dark, xp.clip(contours(light, 0.008) * 2.4 - 0.18, 0, 0.95) * rise(tooth + smudge * 0.5, -0.9, 0.2)
    )
    chalk = rise((light - 0.72) * 2.0 + 0.10 * smudge + 0.15 * tooth, 0.0, 0.7)
    drawn = over(xp.broadcast_to(paper, image.shape), style.ink * (0.25 + 0.4 * d[1]), dark)
    return over(drawn, xp.color(1.0, 0.99, 0.95), 0.85 * chalk * (1 - dark))
