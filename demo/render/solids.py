"""Solids under a pose: ellipsoids drawn as height fields, and light falling on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .backend import namespace
from .fields import Field, Grid
from .scene import Light, Pose


@dataclass(frozen=True, eq=False)
class Surface:
    """A visible surface over the whole frame, meaningful where `distance` < 0.

    u, v, w: position on the solid (right, down, front); height: depth towards the viewer; distance: signed
    distance to the outline. All in head units.
    """

    u: Field
    v: Field
    w: Field
    height: Field
    distance: Field


def rotation(pose: Pose) -> np.ndarray:
    """Matrix (3, 3) from head coordinates (right, down, front) to the screen (right, down, to the viewer)."""
    cy, sy = math.cos(pose.yaw), math.sin(pose.yaw)
    cp, sp = math.cos(pose.pitch), math.sin(pose.pitch)
    cr, sr = math.cos(pose.roll), math.sin(pose.roll)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def head_plane(canvas: Grid, pose: Pose) -> tuple[Field, Field]:
    """Screen offsets from the head's centre in head units."""
    scale = 1.0 / pose.height
    return (canvas.x - pose.x) * scale, (canvas.y - pose.y) * scale


def ellipsoid(
    x: Field,
    y: Field,
    turn: np.ndarray,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> tuple[Field, Field]:
    """Height towards the viewer and outline distance of an ellipsoid given in head coordinates."""
    xp = namespace(x)
    shape = turn @ np.diag([1.0 / (r * r) for r in radii]) @ turn.T
    a11, a12, a13, a22, a23, a33 = (float(shape[i, j]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
    cx, cy, cz = (float(c) for c in turn @ np.array(centre))
    dx, dy = x - cx, y - cy
    b = a13 * dx + a23 * dy
    # outline: the ellipse q = 1 where the line of sight touches the solid
    q = a11 * dx * dx + 2 * a12 * dx * dy + a22 * dy * dy - b * b * (1.0 / a33)
    rest = 1.0 - q
    root = xp.sign(rest) * xp.sqrt(xp.abs(rest) * (1.0 / a33))  # continues downwards outside the outline
    distance = (1.0 - 1.0 / xp.sqrt(xp.maximum(q, 1e-4))) * xp.hypot(dx, dy)
    return root - b * (1.0 / a33) + cz, distance


def surface(x: Field, y: Field, turn: np.ndarray, height: Field, distance: Field) -> Surface:
    """Attach head coordinates to a height field."""
    back = turn.T
    u, v, w = (float(back[i, 0]) * x + float(back[i, 1]) * y + float(back[i, 2]) * height for i in range(3))
    return Surface(u, v, w, height, distance)


def normals(height: Field, step: float) -> tuple[Field, Field, Field]:
    """Unit normals (x, y, z towards the viewer) of a height field sampled every `step` (same units)."""
    xp = namespace(height)
    gy, gx = xp.gradient(height, step)
    scale = 1.0 / xp.sqrt(gx * gx + gy * gy + 1.0)
    return -gx * scale, -gy * scale, scale


def illuminate(normal: tuple[Field, Field, Field], light: Light, wrap: tuple[float, float, float]) -> Field:
    """Light (S, S, 3) on a surface. `wrap` lets each colour bleed past the terminator, as in skin."""
    xp = namespace(normal[0])
    nx, ny, nz = normal
    lx, ly, lz = light.direction
    facing = nx * lx + ny * ly + nz * lz
    key = xp.color(1.0 + light.warmth, 1.0, 1.0 - 1.3 * light.warmth)
    fill = xp.color(1.0 - 0.8 * light.warmth, 1.0, 1.0 + 1.5 * light.warmth)
    sky = light.ambient * (0.86 - 0.14 * ny)
    bleed = xp.color(*wrap)
    direct = xp.clip((facing[..., None] + bleed) / (1.0 + bleed), 0.0, 1.0) ** np.float32(1.25)
    return fill * sky[..., None] + key * (1.10 - 0.72 * light.ambient) * direct


def gloss(normal: tuple[Field, Field, Field], light: Light, power: float) -> Field:
    """Specular reflection (S, S) of the key light."""
    xp = namespace(normal[0])
    lx, ly, lz = light.direction
    length = math.sqrt(lx * lx + ly * ly + (lz + 1) ** 2)
    nx, ny, nz = normal
    return xp.clip((nx * lx + ny * ly + nz * (lz + 1)) * (1.0 / length), 0.0, 1.0) ** np.float32(power)
