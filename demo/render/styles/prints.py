"""Lines, dots and flats of printing: hatching, woodcut, engraving, halftone, risograph, poster."""

from __future__ import annotations

import math

import numpy as np

from ..backend import namespace
from ..fields import Field, luma, over
from .parameters import Style, ramp
from .texture import contours, grain, smooth, unit_grid


def ink_light(image: Field, sigma: float, gain: float) -> Field:
    """Brightness 0..1 for line work: half as seen, half spread evenly over the range."""
    xp = namespace(image)
    light = luma(image)
    light = xp.clip(light + 0.7 * (light - smooth(light, 0.09)), 0.0, 1.0)  # forms stay readable inside large tones
    ordered = xp.sort(light[::2, ::2].ravel())
    rank = xp.floats(xp.searchsorted(ordered, light.ravel()).reshape(light.shape)) / ordered.shape[0]
    even = smooth(0.5 * light + 0.5 * rank, sigma) if sigma else 0.5 * light + 0.5 * rank
    return xp.clip((even - 0.5) * 1.15 * gain + 0.5, 0.03, 0.97)


def wave(phase: Field) -> Field:
    """Triangle wave of period 1 in 0..1."""
    xp = namespace(phase)
    return xp.abs(phase % 1.0 - 0.5) * 2.0


def cut(value: Field, width: float) -> Field:
    """Soft threshold at zero."""
    xp = namespace(value)
    return xp.clip(0.5 + value / max(width, 1e-3), 0.0, 1.0)


def hatching(image: Field, style: Style) -> Field:
    """Up to three directions of pen strokes, more of them in the shade, and a contour."""
    xp = namespace(image)
    size = image.shape[0]
    x, y = unit_grid(image)
    pixel = 1.5 / size / style.pitch
    dark = 1.0 - ink_light(image, 0.004, style.gain)
    ink = xp.zeros_like(dark)
    for i, threshold in enumerate((0.16, 0.44, 0.68)):
        angle = style.angle + 1.05 * i
        across = x * math.cos(angle) + y * math.sin(angle) + 0.006 * grain(image, 0.1, style.seed + i)
        line = xp.clip((dark - threshold) * 1.7, 0.0, 0.62) - 0.03 - wave(across / style.pitch * 1.1)
        ink = xp.maximum(ink, 0.92 * cut(line, 2.0 * pixel))
    ink = xp.maximum(ink, xp.clip(contours(luma(image), 0.008) * 1.5 - 0.2, 0.0, 0.9))
    paper = style.paper * (1.0 - 0.03 * grain(image, 0.02, style.seed + 9))[..., None]
    return over(paper, style.ink, ink)


def woodcut(image: Field, style: Style) -> Field:
    """Gouged lines that bend with the form, swelling with the light."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    x, y = unit_grid(image)
    light = ink_light(image, 0.008, style.gain * 1.15)
    across = -x * math.sin(style.angle) + y * math.cos(style.angle)
    phase = (across + 0.09 * light + 0.016 * grain(image, 0.12, style.seed)) / style.pitch * 1.2
    gouge = cut(light - 0.82 * wave(phase) - 0.08, 3.6 / size / style.pitch)
    paper = style.paper + (style.palette[3] - style.paper) * np.float32(d[2])
    return over(xp.broadcast_to(style.palette[0] * 0.6, image.shape), paper, gouge)


def engraving(image: Field, style: Style) -> Field:
    """Rings around one centre whose line width carries the tone."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    x, y = unit_grid(image)
    light = ink_light(image, 0.004, style.gain)
    away = xp.hypot(x - (0.2 + 0.6 * d[0]), y - 1.2 * d[1])
    phase = away / style.pitch * 1.4 + 0.6 * light
    line = cut(0.95 * (1.0 - light) - wave(phase), 3.9 / size / style.pitch)
    return over(xp.broadcast_to(style.paper, image.shape), style.ink, line)


def halftone(image: Field, style: Style) -> Field:
    """One screen of round dots over a two-tone ground."""
    d = style.dials
    light = ink_light(image, style.pitch * 0.2, style.gain)
    dots = _dots(light, style.pitch, style.angle)
    ground = ramp(style.palette[3:], light)
    return over(ground, style.palette[0] + (style.palette[1] - style.palette[0]) * np.float32(0.5 * d[0]), dots)


def risograph(image: Field, style: Style) -> Field:
    """Two inks, each with its own screen, printed slightly out of register."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    shift = max(1, round(size * (0.004 + 0.008 * d[0])))
    warm = xp.roll(ink_light(xp.flip(image, -1), style.pitch * 0.15, style.gain), (shift, -shift), (0, 1))
    cool = ink_light(image, style.pitch * 0.15, style.gain)
    inks = style.palette[1] * 0.9, style.palette[3] * 0.95
    paper = xp.broadcast_to(style.paper, image.shape)
    print_one = over(paper, paper * inks[1], _dots(xp.clip(warm + 0.08, 0, 1), style.pitch * 0.95, style.angle + 0.5))
    return over(print_one, print_one * inks[0], _dots(xp.clip(cool + 0.12, 0, 1), style.pitch * 0.95, style.angle))


def poster(image: Field, style: Style) -> Field:
    """A few flat colours with clean borders."""
    xp = namespace(image)
    size, d = image.shape[0], style.dials
    levels = 3 + int(d[3] * 2.999)
    light = xp.clip((ink_light(image, 0.012, 1.0) - 0.5) * style.gain + 0.5, 0.0, 0.999) * levels
    width = 2.0 * levels / size / 0.5
    step = xp.floor(light) + cut(light % 1.0 - 1.0 + 0.5 * width * 0.2, width * 0.2)
    return ramp(style.palette, step / (levels - 0.5)) + 0.015 * grain(image, 0.016, style.seed)[..., None]


def _dots(light: Field, pitch: float, angle: float) -> Field:
    """Coverage of round dots on a turned square lattice; area falls with `light`."""
    xp = namespace(light)
    size = light.shape[0]
    x, y = unit_grid(light)
    a = ((x * math.cos(angle) + y * math.sin(angle)) / pitch) % 1.0 - 0.5
    b = ((y * math.cos(angle) - x * math.sin(angle)) / pitch) % 1.0 - 0.5
    return cut(0.74 * xp.sqrt(1.0 - light) - xp.hypot(a, b), 1.5 / size / pitch)
