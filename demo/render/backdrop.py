"""What stands behind the sitter, out of focus."""

from __future__ import annotations

import math

import numpy as np

from .backend import namespace
from .fields import Field, Grid, cloud, inside, noise, over, rise
from .scene import Backdrop, Scene


def paint_backdrop(canvas: Grid, portrait: Scene) -> Field:
    """The background (S, S, 3)."""
    xp = namespace(canvas.x)
    back = portrait.backdrop
    painter = {"bokeh": _bokeh, "hills": _hills, "window": _window, "shelf": _shelf, "foliage": _foliage}.get(back.kind)
    image = _studio(canvas, back)
    if painter:
        image = painter(image, canvas, back)
    return xp.clip(image, 0.0, 1.0)


def _studio(canvas: Grid, back: Backdrop) -> Field:
    """A wall with a pool of light and a mottled paint."""
    xp = namespace(canvas.x)
    along = 0.5 + 0.5 * (canvas.x * math.cos(back.angle) + canvas.y * math.sin(back.angle))
    glow = xp.exp(-((canvas.x - 0.3 * math.cos(back.angle)) ** 2 + (canvas.y + 0.1) ** 2) * 0.9)
    image = over(xp.broadcast_to(back.first, (*along.shape, 3)), back.second * 0.75, xp.clip(along, 0, 1))
    mottle = 0.05 * cloud(canvas.x * 1.7, canvas.y * 1.7, back.seed, 3)
    return image * (0.72 + 0.40 * glow + mottle)[..., None]


def _discs(back: Backdrop, count: int) -> np.ndarray:
    """Random (count, 4) numbers in -1..1 of this backdrop."""
    return np.random.default_rng(back.seed).uniform(-1, 1, (count, 4)).astype(np.float32)


def _bokeh(image: Field, canvas: Grid, back: Backdrop) -> Field:
    xp = namespace(canvas.x)
    for x, y, r, c in _discs(back, 16):
        lamp = xp.clip(back.second + xp.color(1, 0.7, 0.3) * (0.5 * c), 0, 1)
        disc = xp.hypot(canvas.x - 1.1 * x, canvas.y - 1.1 * y) - 0.10 - 0.07 * r
        image = over(image, lamp, 0.34 * inside(disc, 0.05) + 0.12 * inside(xp.abs(disc + 0.02) - 0.01, 0.03))
    return image


def _hills(image: Field, canvas: Grid, back: Backdrop) -> Field:
    xp = namespace(canvas.x)
    x, y = canvas.x, canvas.y
    sky = xp.color(0.60, 0.76, 0.94) * (0.72 + 0.28 * back.second)
    image = sky * (1.0 + 0.16 * y[..., None])
    image = over(
        image,
        xp.color(0.97, 0.97, 0.98),
        0.65 * rise(cloud(x * 1.3, y * 2.6, back.seed, 3), 0.15, 0.8) * rise(-y, 0.1, 0.6),
    )
    land = xp.color(0.28, 0.40, 0.22) * (0.6 + 0.8 * back.first)
    for layer in range(3):
        line = y - 0.02 - 0.24 * layer - 0.13 * noise(x * (1.2 + 0.5 * layer) + 3 * layer, 0 * x, back.seed + layer)
        grass = 0.90 + 0.14 * cloud(x * 5, y * 9, back.seed + 9 + layer, 2)
        haze = 0.45 * (2 - layer) / 2
        image = over(
            image,
            (land * (1 - haze) + sky * haze) * grass[..., None] * (1 - 0.12 * layer),
            inside(-line, 0.04),
        )
    return image


def _window(image: Field, canvas: Grid, back: Backdrop) -> Field:
    xp = namespace(canvas.x)
    place = _discs(back, 1)[0]
    dx, dy = xp.abs(canvas.x - 1.1 * place[0]), xp.abs(canvas.y + 0.35 + 0.1 * place[1])
    pane = inside(xp.maximum(dx - 0.42, dy - 0.62), 0.04) * (
        1.0 - inside(xp.minimum(dx, xp.abs(dy - 0.25)) - 0.025, 0.03)
    )
    view = over(
        xp.broadcast_to(xp.color(0.90, 0.95, 1.0), image.shape),
        xp.color(0.55, 0.68, 0.45),
        0.7 * rise(canvas.y, -0.3, 0.2),
    )
    image = over(image, xp.color(0.85, 0.82, 0.78), 0.6 * inside(xp.maximum(dx - 0.48, dy - 0.68), 0.03))
    return over(image, view, 0.9 * pane)


def _shelf(image: Field, canvas: Grid, back: Backdrop) -> Field:
    """Books on shelves."""
    xp = namespace(canvas.x)
    height, wide = 0.52, 0.13
    row = xp.floor((canvas.y + 1.3) / height)
    place = canvas.x / wide + 0.35 * noise(canvas.x / wide, row * 7.3, back.seed)
    book, within = xp.floor(place), place % 1.0
    tall = 0.70 + 0.22 * noise(book * 3.7 + 0.5, row * 5.1 + 0.5, back.seed + 1)
    up = 1.0 - ((canvas.y + 1.3) / height) % 1.0
    tint = xp.stack([noise(book * 2.3 + 0.5, row * 3.1 + 0.5, back.seed + k) for k in (2, 3, 4)], -1)
    spine = (
        xp.clip(back.second + 0.35 * tint, 0.05, 0.95)
        * (0.55 + 0.45 * xp.sin(np.pi * xp.clip(within, 0, 1)))[..., None]
    )
    image = over(image * 0.45, spine, 0.9 * inside(up - tall, 0.03) * rise(up, 0.06, 0.09))
    return over(image, xp.color(0.45, 0.31, 0.20) * (0.6 + 0.5 * back.first), inside(up - 0.075, 0.02))


def _foliage(image: Field, canvas: Grid, back: Backdrop) -> Field:
    xp = namespace(canvas.x)
    x, y = canvas.x, canvas.y
    depth = cloud(x * 3.2, y * 3.2, back.seed, 4)
    leaf = xp.color(0.20, 0.34, 0.14) * (0.5 + back.first)
    image = leaf * (1.0 + 0.75 * depth)[..., None]
    sun = rise(cloud(x * 2.4, y * 2.4, back.seed + 5, 2), 0.35, 0.9)
    return over(image, xp.color(0.93, 0.96, 0.70), 0.75 * sun)
