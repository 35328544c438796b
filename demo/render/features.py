"""What is painted on the head: eyes, brows, mouth, glasses, ears."""

from __future__ import annotations

import math

import numpy as np

from .backend import namespace
from .face import EYE_LEVEL
from .fields import Field, bell, inside, noise, over, rise
from .scene import Scene
from .solids import Surface, rotation

BLACK = (0.03, 0.025, 0.025)


def paint_eyes(image: Field, skull: Surface, portrait: Scene, brightness: Field, edge: float) -> Field:
    """Both eyes with lids, lashes and catchlights. `edge` is the width of soft edges in head units."""
    front = rise(skull.w, 0.05, 0.3)
    for side in (-1, 1):
        image = _paint_eye(image, skull, portrait, brightness, edge, side, front)
    return image


def _paint_eye(
    image: Field, skull: Surface, portrait: Scene, brightness: Field, edge: float, side: int, front: Field
) -> Field:
    xp = namespace(skull.u)
    face = portrait.face
    x, y = _eye_plane(skull, portrait, side)
    soft = edge / face.eye_size
    arch = xp.clip(1.0 - x * x, 0.0, 1.0)
    upper, lower = face.eye_open * arch**0.75, 0.62 * face.eye_open * arch
    opening = inside(xp.maximum(xp.maximum(-y - upper, y - lower), xp.abs(x) - 1.0), soft) * front
    light = xp.clip(0.35 + 0.62 * brightness, 0.0, 1.05) * (1.0 - 0.38 * rise(-y - upper, -0.42, 0.0))
    ball = xp.color(0.93, 0.91, 0.90) * light[..., None]
    gx, gy = x - face.gaze[0], y - face.gaze[1] + 0.06
    radius = xp.hypot(gx, gy)
    iris = (
        face.iris * (0.65 + 0.75 * rise(radius, 0.1, 0.42) + 0.1 * noise(xp.arctan2(gy, gx) * 4, radius, 4))[..., None]
    )
    ball = over(ball, iris, inside(radius - 0.46, soft))
    ball = over(ball, face.iris * 0.3, 0.7 * inside(xp.abs(radius - 0.45) - 0.04, soft))
    ball = over(ball, xp.color(*BLACK), inside(radius - 0.21, soft))
    glint = xp.hypot(gx - 0.35 * portrait.light.direction[0], gy + 0.20) - 0.11
    ball = over(ball, xp.color(1, 1, 1), 0.95 * inside(glint, soft))
    image = over(image, ball, opening)
    dark = portrait.hair.tone * 0.22
    lashes = inside(xp.abs(y + upper) - 0.085 * (1.15 - 0.4 * xp.abs(x)), soft) * inside(xp.abs(x) - 1.06, soft)
    fold = inside(xp.abs(y + upper + 0.26) - 0.035, soft + 0.1) * inside(xp.abs(x) - 0.95, 0.3)
    image = over(image, face.skin * 0.45, 0.40 * fold * front)
    image = over(
        image,
        face.skin * 0.45,
        0.35 * inside(xp.abs(y - lower - 0.05) - 0.03, soft + 0.05) * opening_span(x) * front,
    )
    return over(image, dark, 0.92 * lashes * front)


def _eye_plane(skull: Surface, portrait: Scene, side: int) -> tuple[Field, Field]:
    """Right and down of an eye's middle, along its tilt; the corners lie at -1 and 1."""
    face = portrait.face
    tilt = face.eye_tilt * side
    du, dv = skull.u - side * face.eye_gap, skull.v - EYE_LEVEL
    x = (du * math.cos(tilt) + dv * math.sin(tilt)) / face.eye_size
    y = (dv * math.cos(tilt) - du * math.sin(tilt)) / face.eye_size
    return x, y


def opening_span(x: Field) -> Field:
    """Opacity along an eye's width, gone at the corners."""
    xp = namespace(x)
    return inside(xp.abs(x) - 0.9, 0.3)


def paint_brows(image: Field, skull: Surface, portrait: Scene, edge: float) -> Field:
    """Eyebrows as tapering arcs of short hairs."""
    xp = namespace(skull.u)
    face = portrait.face
    front = rise(skull.w, 0.05, 0.3)
    tone = xp.clip(portrait.hair.tone * 0.7, 0.0, 0.55)
    for side in (-1, 1):
        x = (skull.u * side - face.eye_gap - 0.01) / (face.eye_size * 1.5)
        arc = skull.v - EYE_LEVEL + face.brow_height + 0.045 * (1 - x * x) + face.brow_tilt * 0.25 * x - 0.02
        thick = face.brow_weight * xp.clip(1.1 - 0.5 * (x + 0.3), 0.15, 1.15)
        hairs = 0.84 + 0.22 * noise(skull.u * 40 + skull.v * 25, skull.v * 14, 21)
        opacity = inside(xp.abs(arc) - thick, edge + 0.018) * inside(xp.abs(x) - 1.0, 0.2) * hairs
        image = over(image, tone, 0.9 * xp.clip(opacity, 0, 1) * front)
    return image


def paint_mouth(image: Field, skull: Surface, portrait: Scene, brightness: Field, edge: float) -> Field:
    """Lips, and teeth where the mouth is open."""
    xp = namespace(skull.u)
    face = portrait.face
    front = rise(skull.w, 0.0, 0.3)
    x, y = _mouth_plane(skull, portrait)
    arch = xp.clip(1.0 - x * x, 0.0, 1.0)
    gap = face.mouth_open * arch
    bow = face.lip_height * arch**0.7 * (1.0 - 0.30 * xp.exp(-((x / 0.2) ** 2)))
    width = inside(xp.abs(x) - 1.0, 0.06)
    tint = face.skin * (1.0 - face.lips * xp.color(0.10, 0.52, 0.46)) * xp.color(0.94, 0.76, 0.74)
    lit = xp.clip(brightness, 0.0, 1.15)[..., None]
    upper = inside(xp.maximum(-y - gap - bow, y), edge) * width * front
    lower = inside(xp.maximum(y - gap - 1.35 * face.lip_height * arch**0.6, -y), edge) * width * front
    image = over(image, tint * lit * 0.84, upper)
    shine = 0.10 * bell(x * 0.4, (y - gap - face.lip_height * 0.6) * 6, 0.12)
    image = over(image, tint * lit * 1.04 + shine[..., None], lower)
    if face.mouth_open > 0.008:
        teeth = over(
            xp.broadcast_to(xp.color(0.22, 0.06, 0.06), image.shape),
            xp.color(0.95, 0.92, 0.87),
            inside(y - gap * 0.3, edge),
        )
        image = over(image, teeth * xp.clip(0.3 + 0.7 * lit, 0, 1), inside(xp.abs(y) - gap, edge) * width * front)
    line = inside(xp.abs(y) - gap * 0 - 0.008, edge + 0.006) * inside(xp.abs(x) - 1.04, 0.08)
    closed = 0.8 if face.mouth_open <= 0.008 else 0.0
    return over(image, face.skin * xp.color(0.30, 0.20, 0.20), closed * line * front)


def _mouth_plane(skull: Surface, portrait: Scene) -> tuple[Field, Field]:
    """Right of the mouth's middle, 1 at a corner, and down from the line between the lips, in head units."""
    face = portrait.face
    x = skull.u / face.mouth_width
    return x, skull.v - (EYE_LEVEL + face.nose_length + 0.24) + face.smile * (x * x - 0.35) * 0.55


def eyes_and_mouth(skull: Surface, portrait: Scene, edge: float) -> dict[str, Field]:
    """Where eyes, with lids and lashes, and the mouth lie: masks (S, S) in 0..1 named `eyes` and `mouth`."""
    xp = namespace(skull.u)
    face, front = portrait.face, rise(skull.w, 0.05, 0.3)
    eyes = [xp.hypot(x / 1.2, y) - 1.0 for x, y in (_eye_plane(skull, portrait, side) for side in (-1, 1))]
    x, y = _mouth_plane(skull, portrait)
    height = face.mouth_open + 1.35 * face.lip_height + 0.02
    mouth = xp.hypot(x / 1.1, y / height) - 1.0
    return {
        "eyes": inside(xp.minimum(*eyes) * face.eye_size, edge) * front,
        "mouth": inside(mouth * height, edge) * front,
    }


def paint_glasses(image: Field, skull: Surface, portrait: Scene, edge: float) -> Field:
    """Rims, bridge and temples; rounder or squarer by `glasses_round`."""
    xp = namespace(skull.u)
    face = portrait.face
    if not face.glasses:
        return image
    frame, power = xp.clip(portrait.clothes.second * 0.3, 0, 1), face.glasses_round
    front = rise(skull.w, -0.1, 0.15)
    for side in (-1, 1):
        x, y = (skull.u - side * face.eye_gap) / 0.225, (skull.v - EYE_LEVEL - 0.03) / 0.185
        away = (xp.abs(x) ** power + xp.abs(y) ** power) ** (1.0 / power) - 1.0
        image = over(image, xp.color(0.92, 0.96, 1.0), 0.10 * inside(away, 0.1) * front)
        image = over(image, frame, face.glasses * inside(xp.abs(away * 0.2) - 0.018, edge) * front)
    bridge = inside(xp.maximum(xp.abs(skull.v - EYE_LEVEL + 0.02) - 0.016, xp.abs(skull.u) - face.eye_gap + 0.21), edge)
    arm = inside(xp.abs(skull.v - EYE_LEVEL + 0.03) - 0.018, edge) * rise(
        xp.abs(skull.u), face.eye_gap + 0.22, face.eye_gap + 0.24
    )
    return over(image, frame, face.glasses * xp.maximum(bridge * front, arm))


def paint_ears(image: Field, x: Field, y: Field, portrait: Scene, edge: float) -> Field:
    """Ears at the sides of the head (drawn before it), with an earring. x, y: head plane."""
    xp = namespace(x)
    face, turn = portrait.face, rotation(portrait.pose)
    for side in (-1, 1):
        cx, cy, _ = (float(c) for c in turn @ np.array([side * (face.width - 0.02), 0.05, -0.10]))
        dx, dy = x - cx, y - cy
        out = xp.hypot(dx / 0.12, dy / 0.20)
        light = 0.62 + 0.25 * side * portrait.light.direction[0] - 0.32 * bell(dx * 1.4, dy * 0.7, 0.06) + 0.1 * out
        ear = face.skin * xp.color(0.98, 0.86, 0.83) * xp.clip(light, 0.2, 1.1)[..., None]
        image = over(image, ear, inside((out - 1.0) * 0.13, edge))
        if face.earring:
            drop = xp.hypot(dx, dy - 0.24) - 0.045
            image = over(image, xp.color(1.0, 0.88, 0.5), inside(drop, edge))
    return image
