"""Neck, shoulders and garments with folds, collars and patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backend import namespace
from .fields import Field, Grid, cloud, inside, noise, over, rise, soft_min
from .scene import Scene
from .solids import illuminate, normals

CLOTH_WRAP = (0.25, 0.25, 0.25)
DEPTH = {
    "crew": 0.15,
    "vee": 0.40,
    "shirt": 0.30,
    "suit": 0.62,
    "turtle": 0.0,
    "hoodie": 0.16,
    "scarf": 0.0,
}  # neckline


@dataclass(frozen=True, eq=False)
class Body:
    """The frame under the clothes, in frame units: centre line, shoulder line, half width of the neck."""

    x: Field  # offset from the centre line
    y: Field  # offset below the pit of the neck
    neck: float
    torso: Field  # signed distance
    throat: Field  # signed distance of the bare neck


def body(canvas: Grid, portrait: Scene) -> Body:
    """Place neck and shoulders under the head."""
    xp = namespace(canvas.x)
    pose, clothes, face = portrait.pose, portrait.clothes, portrait.face
    lean = 0.35 * pose.x + 0.25 * pose.height * np.float32(np.sin(pose.roll)) * -1.0
    x, y = canvas.x - (pose.x - lean * 0.4), canvas.y - (pose.y + 1.12 * pose.height)
    neck = 0.60 * face.jaw * pose.height + 0.06
    wide = clothes.shoulders * (0.55 + 0.8 * pose.height)
    fall = clothes.slope * (xp.abs(x) / wide) ** 1.5 - 0.07 * xp.exp(-((x / (1.7 * neck)) ** 2))
    torso = fall + 2.2 * xp.clip(xp.abs(x) - wide, 0, 1) - y + 0.02
    sides = xp.abs(x) - neck * (1.0 + 0.10 * xp.cos(xp.clip(y / 0.3, -1.6, 1.6)))
    throat = xp.maximum(sides, xp.maximum(y - 0.25, -0.75 * pose.height - y))
    trapezius = xp.maximum(xp.abs(x) - neck - 0.7 * xp.clip(y + 0.13, 0, 0.3), xp.maximum(-0.13 - y, y - 0.2))
    return Body(x, y, neck, torso, soft_min(throat, trapezius, 0.06))


def paint_body(image: Field, canvas: Grid, portrait: Scene, shadow: Field) -> tuple[Field, Field]:
    """Neck and garment laid over `image`, and the body's opacity. `shadow` (S, S) falls from the head."""
    xp = namespace(canvas.x)
    frame = body(canvas, portrait)
    edge = 1.3 * canvas.pixel
    clothes, garment = portrait.clothes, portrait.clothes.garment
    dim = (1.0 - shadow)[..., None]
    light = _cloth_light(canvas, frame, portrait) * (0.35 + 0.65 * dim)
    skin = _neck_skin(canvas, frame, portrait) * dim
    bare, torso = inside(frame.throat, edge), inside(frame.torso, edge)
    image = over(image, skin, bare)
    image = over(image, xp.clip(_cloth(frame, portrait) * light, 0, 1), torso)
    opening = _opening(frame, garment) if DEPTH[garment] else xp.full_like(frame.x, 9.0)
    open_mask = inside(opening, edge) * xp.maximum(bare, torso)
    if garment == "suit":
        image = _paint_suit(image, frame, portrait, light, skin, edge, torso)
    else:
        image = over(image, skin, open_mask)
        rim = inside(xp.abs(opening - 0.028) - 0.026, edge) * xp.maximum(torso, bare) * rise(frame.y, -0.10, -0.05)
        if DEPTH[garment]:
            image = over(image, clothes.main * 0.72 * light, rim * (0.9 if garment != "shirt" else 0.0))
    painter = {
        "shirt": _paint_shirt,
        "turtle": _paint_turtle,
        "scarf": _paint_scarf,
        "hoodie": _paint_hood,
    }.get(garment)
    if painter:
        image = painter(image, frame, portrait, light, edge)
    return image, xp.maximum(bare, torso)


def _opening(frame: Body, garment: str) -> Field:
    """Signed distance of the neckline's opening."""
    xp = namespace(frame.x)
    depth, wide = DEPTH[garment], frame.neck * (1.15 if garment != "crew" else 1.25)
    if garment in ("crew", "hoodie"):
        return (xp.hypot(frame.x / wide, (frame.y + 0.02) / depth) - 1.0) * depth
    return (xp.abs(frame.x) / wide + (frame.y + 0.02) / depth - 1.0) * wide * 0.8


def _neck_skin(canvas: Grid, frame: Body, portrait: Scene) -> Field:
    xp = namespace(canvas.x)
    depth = xp.sqrt(xp.clip(1.0 - (frame.x / (frame.neck * 1.15)) ** 2, 0.02, 1.0)) * frame.neck
    cords = 0.012 * xp.exp(-0.5 * ((xp.abs(frame.x) - 0.55 * frame.neck - 0.25 * frame.y * -1) / 0.03) ** 2)
    chest = rise(frame.y, 0.0, 0.2)
    normal = normals(depth * (1 - 0.8 * chest) + cords, canvas.pixel)
    lit = illuminate(normal, portrait.light, (0.5, 0.34, 0.28))
    return xp.clip(portrait.face.skin * xp.color(0.97, 0.94, 0.93) * lit, 0, 1)


def _cloth_light(canvas: Grid, frame: Body, portrait: Scene) -> Field:
    """Light on the garment: round shoulders, and folds that fan out from the neck and armpits."""
    xp = namespace(canvas.x)
    seed, x, y = portrait.clothes.seed, frame.x, frame.y
    wide = portrait.clothes.shoulders
    fan = xp.arctan2(x, y + 0.55) * 5.5
    folds = 0.030 * noise(fan + 0.8 * noise(x * 2, y * 2, seed), xp.hypot(x, y) * 1.7, seed + 1)
    arm = xp.abs(x) - 0.62 * wide - 0.10 * y
    folds = folds + 0.05 * xp.tanh(arm * 14) * rise(y, 0.25, 0.5) + 0.016 * cloud(x * 4, y * 3, seed + 2, 2)
    rounded = 0.30 * xp.sqrt(xp.clip(1.15 - (x / (1.15 * wide)) ** 2, 0.02, 2)) - 0.22 * xp.exp(
        -xp.clip(-frame.torso, 0, 2) / 0.16
    )
    return illuminate(normals(rounded + folds, canvas.pixel), portrait.light, CLOTH_WRAP)


def _cloth(frame: Body, portrait: Scene) -> Field:
    """Colour of the fabric with its pattern; patterns follow the chest's curve."""
    xp = namespace(frame.x)
    clothes = portrait.clothes
    base = xp.broadcast_to(clothes.main, (*frame.x.shape, 3))
    drop = frame.y - 0.25 * frame.x**2
    row, column = drop / clothes.pitch, frame.x / clothes.pitch
    wave = lambda t: rise(xp.abs((t % 1.0) - 0.5), 0.20, 0.30)  # noqa: E731
    if clothes.pattern == "stripes":
        base = over(base, clothes.second, 0.85 * wave(row if clothes.seed % 3 else column))
    elif clothes.pattern == "checks":
        base = over(over(base, clothes.second, 0.55 * wave(row)), clothes.second * 0.8, 0.55 * wave(column))
    elif clothes.pattern == "knit":
        rib = 0.5 + 0.5 * xp.sin(column * 25.0 + 2.0 * xp.abs((row * 3.0) % 1 - 0.5))
        base = base * (0.84 + 0.22 * rib)[..., None]
    return base


def _paint_suit(
    image: Field, frame: Body, portrait: Scene, light: Field, skin: Field, edge: float, torso: Field
) -> Field:
    xp = namespace(frame.x)
    clothes, x, y = portrait.clothes, frame.x, frame.y
    vee = (xp.abs(x) / (frame.neck * 1.45) + (y + 0.04) / 0.70 - 1.0) * frame.neck
    shirt = inside(xp.maximum(vee, -y - 0.06), edge) * xp.maximum(torso, inside(frame.throat, edge))
    image = over(image, xp.color(0.93, 0.93, 0.95) * light, shirt)
    throat = (xp.abs(x) / (frame.neck * 0.95) + (y + 0.03) / 0.13 - 1.0) * frame.neck
    image = over(image, skin, inside(xp.maximum(throat, -0.3 - y), edge) * shirt)
    flap = xp.abs(xp.abs(x) - frame.neck * 0.62 + 0.55 * (y - 0.02)) - 0.012
    flap = inside(xp.maximum(flap, xp.abs(y - 0.04) - 0.06), edge)
    image = over(image, xp.color(0.62, 0.63, 0.68), 0.7 * flap * shirt)
    if clothes.seed % 4:
        tie = xp.maximum(xp.abs(x) - 0.030 - 0.055 * rise(y, 0.13, 0.6), 0.09 - y)
        bands = 0.8 + 0.35 * ((x * 0.7 + y) * 9 % 1 > 0.6)
        image = over(image, clothes.second * light * bands[..., None], inside(tie, edge) * shirt)
    lapel = xp.abs(vee - 0.10) - 0.10
    notch = inside(xp.abs(y - 0.34 - 0.3 * xp.abs(x)) - 0.012, edge)
    image = over(image, clothes.main * 0.82 * light, inside(lapel, edge) * torso * rise(y, -0.05, 0.05) * (1 - notch))
    return over(
        image,
        clothes.main * 0.4,
        0.8 * inside(xp.abs(lapel - 0.004) - 0.006, edge) * torso * rise(y, 0.0, 0.05),
    )


def _paint_shirt(image: Field, frame: Body, portrait: Scene, light: Field, edge: float) -> Field:
    xp = namespace(frame.x)
    x, y = frame.x, frame.y
    tip = xp.abs(xp.abs(x) - frame.neck * 0.95 + 0.18 * y) - 0.11 * rise(y, 0.26, -0.12) - 0.01
    collar = inside(xp.maximum(tip, xp.abs(y - 0.05) - 0.19), edge)
    tone = portrait.clothes.main * 1.12 * light
    image = over(
        image,
        portrait.clothes.main * 0.5 * light,
        0.5 * inside(xp.maximum(tip, xp.abs(y - 0.06) - 0.21) - 0.015, edge + 0.03),
    )
    image = over(image, xp.clip(tone, 0, 1), collar)
    placket = inside(xp.abs(x - 0.035) - 0.006, edge) * rise(y, 0.26, 0.30)
    image = over(image, portrait.clothes.main * 0.55 * light, 0.7 * placket)
    buttons = xp.hypot(x, ((y - 0.40 + 0.11) % 0.22) - 0.11) - 0.017
    return over(image, xp.color(0.9, 0.9, 0.88) * light, inside(buttons, edge) * rise(y, 0.30, 0.34))


def _paint_turtle(image: Field, frame: Body, portrait: Scene, light: Field, edge: float) -> Field:
    xp = namespace(frame.x)
    x, y = frame.x, frame.y
    roll = xp.maximum(
        xp.abs(x) - frame.neck * (1.10 + 0.35 * rise(y, 0.0, 0.2)), xp.abs(y + 0.02 - 0.35 * x * x) - 0.16
    )
    rib = 0.88 + 0.14 * xp.sin(x / frame.neck * 22.0)
    across = xp.clip(1.0 - 0.55 * (x / (frame.neck * 1.2)) ** 2, 0.3, 1)
    shade = rib * across * (0.80 + 0.3 * portrait.light.direction[0] * x / frame.neck)
    return over(
        image,
        xp.clip(portrait.clothes.main * 1.05 * shade[..., None] * (0.4 + 0.6 * light), 0, 1),
        inside(roll, edge + 0.01),
    )


def _paint_scarf(image: Field, frame: Body, portrait: Scene, light: Field, edge: float) -> Field:
    xp = namespace(frame.x)
    x, y, seed = frame.x, frame.y, portrait.clothes.seed
    wavy = 0.03 * noise(x * 4, y * 4, seed)
    band = xp.hypot(x / (frame.neck * 1.9), (y - 0.05 + wavy) / 0.24) - 1.0
    tail = xp.maximum(xp.abs(x - 0.16 - 0.1 * y + wavy) - 0.13, xp.maximum(-y, y - 0.75))
    region = inside(xp.minimum(band * 0.2, tail), edge + 0.01)
    fold = 0.80 + 0.28 * noise((y * 2 - 0.8 * x * x + wavy) * 7, x * 1.5, seed + 3)
    rows = rise(xp.abs(((y + 0.3 * x) / portrait.clothes.pitch) % 1 - 0.5), 0.28, 0.34)
    tone = over(xp.broadcast_to(portrait.clothes.second, image.shape), portrait.clothes.main, 0.6 * rows)
    return over(image, xp.clip(tone * fold[..., None] * light, 0, 1), region)


def _paint_hood(image: Field, frame: Body, portrait: Scene, light: Field, edge: float) -> Field:
    xp = namespace(frame.x)
    x, y = frame.x, frame.y
    ring = xp.abs(xp.hypot(x / (frame.neck * 1.75), (y + 0.02) / 0.27) - 1.0) - 0.30
    hood = inside(ring * 0.22, edge + 0.01) * rise(xp.abs(x) * 1.2 + y, -0.02, 0.12)
    shade = 0.74 + 0.5 * xp.clip(-ring, 0, 0.4)
    image = over(image, xp.clip(portrait.clothes.main * shade[..., None] * light * 1.15, 0, 1), hood)
    cords = xp.maximum(xp.abs(xp.abs(x) - 0.11 - 0.02 * xp.sin(y * 9)) - 0.012, xp.abs(y - 0.42) - 0.2)
    return over(image, xp.color(0.92, 0.92, 0.9) * light, inside(cords, edge))
