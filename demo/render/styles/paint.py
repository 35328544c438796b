"""Brush and crayon: oil, watercolor, pastel, charcoal."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from ..fields import Field, color, luma, over, rise
from .parameters import Style, ramp
from .texture import contours, flow_field, grain, smear, smooth


def recolor(image: Field, style: Style, own: float) -> Field:
    """The picture in the style's palette, keeping the share `own` of its colours."""
    mapped = ramp(style.palette, (luma(image) - 0.5) * style.gain + 0.52)
    return np.clip(mapped + (image - mapped) * np.float32(own), 0.0, 1.0)


def saturate(image: Field, factor: float) -> Field:
    """Colours moved away from their grey."""
    grey = image.mean(-1, keepdims=True)
    return np.clip(grey + (image - grey) * np.float32(factor), 0.0, 1.0)


def oil(image: Field, style: Style) -> Field:
    """Broad strokes along the contours, with the relief of thick paint."""
    size, d = image.shape[0], style.dials
    angle = flow_field(luma(image), style.seed, 1.0)
    bristle = smear(grain(size, 0.020 + 0.012 * d[0], style.seed), angle, 0.035 + 0.03 * d[1])
    bristle = bristle / (bristle.std() + 1e-6)
    wide = smear(grain(size, 0.05, style.seed + 1), angle, 0.05)
    wide = wide / (wide.std() + 1e-6)
    body = smooth(image, 0.010)
    moved = 0.055 * wide * rise(contours(luma(body), 0.012), 0.0, 0.25)
    paint = saturate(recolor(np.clip(body + moved[..., None], 0, 1), style, 0.25 + 0.4 * d[2]), 1.15 + 0.5 * d[3])
    gy, gx = np.gradient(bristle)
    relief = (gx * np.cos(style.angle) + gy * np.sin(style.angle)) * (size / 128.0)
    tone = (0.055 + 0.05 * d[4]) * bristle + 0.03 * wide + 0.03 * relief
    return paint + tone[..., None] * color(1.1, 1.0, 0.85)


def watercolor(image: Field, style: Style) -> Field:
    """Washes with wandering borders that dry darker, blooming on grained paper."""
    size, d = image.shape[0], style.dials
    rows, columns = np.indices((size, size), dtype=np.float32)
    wander = size * (0.010 + 0.012 * d[1])
    place = [
        rows + wander * grain(size, 0.09, style.seed + 1),
        columns + wander * grain(size, 0.09, style.seed + 2),
    ]
    image = np.stack([map_coordinates(image[..., c], place, order=1, mode="nearest") for c in range(3)], -1)
    wash = smooth(image, 0.016)
    levels = np.round(wash * 4.5) / 4.5
    wash = smooth(levels, 0.004) * 0.6 + wash * 0.4
    rim = np.clip(contours(luma(levels), 0.006) * 0.9, 0.0, 0.6)
    pool = 0.64 + 0.22 * grain(size, 0.13, style.seed) + 0.10 * grain(size, 0.05, style.seed + 4)
    paint = over(
        np.broadcast_to(style.paper, image.shape),
        saturate(recolor(wash, style, 0.45 + 0.35 * d[0]), 1.35),
        pool,
    )
    bright = rise(luma(wash), 0.72, 0.95)
    paint = over(paint, style.paper, 0.75 * bright)
    return paint * (1.0 - 0.55 * rim)[..., None] + 0.05 * grain(size, 0.017, style.seed + 3)[..., None]


def pastel(image: Field, style: Style) -> Field:
    """Chalk rubbed over toothed paper in one main direction; the paper shows between the strokes."""
    size, d = image.shape[0], style.dials
    angle = style.angle + 0.5 * grain(size, 0.3, style.seed)
    stroke = smear(grain(size, 0.016, style.seed + 1), angle, 0.028)
    cross = smear(grain(size, 0.018, style.seed + 2), angle + 0.9, 0.025)
    stroke, cross = stroke / (stroke.std() + 1e-6), cross / (cross.std() + 1e-6)
    tooth = grain(size, 0.013, style.seed + 3)
    light = luma(image)
    dark_paper = d[1] < 0.55
    paper = style.ink * 0.75 + 0.08 if dark_paper else style.paper * 0.92
    chalk = saturate(recolor(smooth(image, 0.012), style, 0.30 + 0.35 * d[0]), 1.5)
    chalk = np.clip(chalk * 0.80 + 0.20 + 0.05 * cross[..., None] * color(1.2, 0.2, -1.0), 0, 1)
    pressure = (0.20 + 0.75 * light) if dark_paper else (0.95 - 0.55 * light)
    cover = rise(1.3 * pressure - 0.45 + 0.20 * stroke + 0.22 * tooth, -0.25, 0.55)
    drawn = over(np.broadcast_to(paper, image.shape), chalk, 0.93 * cover)
    return over(
        drawn,
        style.ink * 0.5,
        0.65 * np.clip(contours(light, 0.010) * 1.3 - 0.12, 0, 1) * rise(stroke, -0.8, 0.6),
    )


def charcoal(image: Field, style: Style) -> Field:
    """Soft black and white on tinted paper, smudged along the contours, with hard accents."""
    size, d = image.shape[0], style.dials
    light = luma(image)
    angle = flow_field(light, style.seed, 0.3)
    smudge = smear(grain(size, 0.015, style.seed), angle, 0.022)
    smudge = smudge / (smudge.std() + 1e-6)
    tooth = grain(size, 0.014, style.seed + 2)
    paper = style.paper * np.float32(0.62 + 0.25 * d[0])
    dark = rise((0.60 - smooth(light, 0.005)) * 1.5 * style.gain + 0.10 * smudge + 0.14 * tooth, -0.05, 0.85)
    dark = np.maximum(
        dark, np.clip(contours(light, 0.008) * 2.4 - 0.18, 0, 0.95) * rise(tooth + smudge * 0.5, -0.9, 0.2)
    )
    chalk = rise((light - 0.72) * 2.0 + 0.10 * smudge + 0.15 * tooth, 0.0, 0.7)
    drawn = over(np.broadcast_to(paper, image.shape), style.ink * (0.25 + 0.4 * d[1]), dark)
    return over(drawn, color(1.0, 0.99, 0.95), 0.85 * chalk * (1 - dark))
