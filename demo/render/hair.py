"""Hair: strands follow parabolas from the parting, as falling hair does, and roughen the outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backend import namespace
from .fields import Field, Grid, bell, cloud, inside, noise, rise
from .scene import Hair, Scene
from .solids import Surface, ellipsoid, head_plane, illuminate, normals, rotation, surface

LONG = {"long": 1.75, "wavy": 1.55, "bob": 0.86}  # reach below the head's centre, in head units
VOLUME = {
    "short": -0.03,
    "curly": 0.16,
    "quiff": 0.05,
    "cropped": -0.035,
    "wavy": 0.04,
    "bun": -0.03,
    "swept": 0.03,
}


@dataclass(frozen=True, eq=False)
class HairLayers:
    """Colour (S, S, 3) and opacities (S, S) of what lies behind the head and in front of it."""

    image: Field
    behind: Field
    front: Field


def paint_hair(canvas: Grid, portrait: Scene) -> HairLayers:
    """All hair of the portrait."""
    xp = namespace(canvas.x)
    hair = portrait.hair
    x, y = head_plane(canvas, portrait.pose)
    edge = 1.3 * canvas.pixel / portrait.pose.height
    shell = _shell(x, y, portrait)
    across, along = _flow(shell.u, shell.v, hair)
    strands = _strands(across, along, shell, hair)
    front = inside(shell.distance + 0.016 * strands, edge) * _front_region(shell, hair, strands, edge)
    behind = inside(shell.distance + 0.016 * strands, edge) * inside(y - 0.45, 0.3)
    if hair.cut in LONG:
        drape, locks = _drape(x, y, portrait, edge)
        behind, front = xp.maximum(behind, drape), xp.maximum(front, locks)
    if hair.cut == "bun":
        behind = xp.maximum(behind, _bun(x, y, portrait, edge))
    if hair.cut == "cropped":
        front = front * (0.80 + 0.12 * strands)
    image = _lit_strands(canvas, shell, portrait, strands, x, y)
    return HairLayers(image, behind, xp.clip(front, 0, 1))


def _shell(x: Field, y: Field, portrait: Scene) -> Surface:
    """The outer surface of the hair: a larger cranium, lumpy for curls, higher for a quiff."""
    face, hair, turn = portrait.face, portrait.hair, rotation(portrait.pose)
    grow = hair.volume + VOLUME.get(hair.cut, 0.0)
    rise_up = 0.10 + 0.06 * hair.length if hair.cut == "quiff" else 0.0
    radii = (face.width * grow, 0.73 * grow + rise_up, 0.80 * grow)
    height, distance = ellipsoid(x, y, turn, (0.05 * hair.part, -0.27 - 0.5 * rise_up, -0.12), radii)
    if hair.cut == "curly":
        bumps = cloud(x * 5.0, y * 5.0, hair.seed, 2)
        height, distance = height + 0.06 * bumps, distance - 0.05 * bumps
    return surface(x, y, turn, height, distance)


def _flow(u: Field, v: Field, hair: Hair) -> tuple[Field, Field]:
    """Coordinates across and along the strands: parabolas that leave the parting and fall."""
    xp = namespace(u)
    if hair.cut == "swept":  # combed to one side
        side = 1.0 if hair.part > 0 else -1.0
        return v + 0.55 * (u * side) ** 2 + 0.3 * u * side, u * side
    if hair.cut == "quiff":  # combed up and back
        return u * (1.0 - 0.35 * v), v
    bend = 0.05 * hair.wave * xp.sin(5.0 * v + 3.0 * noise(u * 2, v * 1.5, hair.seed))
    return (u - 0.6 * hair.part + bend) / xp.sqrt(xp.maximum(v + 1.12, 0.06)), v


def _strands(across: Field, along: Field, shell: Surface, hair: Hair) -> Field:
    """Strand texture, about -1..1: noise stretched along the flow, in locks and in single strands."""
    xp = namespace(shell.u)
    if hair.cut == "curly":
        warp = 0.5 * noise(shell.u * 6, shell.v * 6, hair.seed + 1)
        rings = xp.sin(9.0 * cloud(shell.u * 3.6 + warp, shell.v * 3.6, hair.seed + 2, 2))
        return 0.8 * rings
    f = hair.fineness * (0.6 if hair.cut == "wavy" else 1.0)
    shift = 0.5 * noise(across * 3, along * 1.5, hair.seed + 3)
    locks = noise(across * f * 0.55 + shift, along * 0.7, hair.seed)
    fine = noise(across * f * 1.6 + shift, along * 1.4, hair.seed + 5)
    thin = noise(across * f * 4.0, along * 2.2, hair.seed + 7)
    return 0.75 * locks + 0.5 * fine + 0.3 * thin


def _front_region(shell: Surface, hair: Hair, strands: Field, edge: float) -> Field:
    """Opacity of hair over the face's side of the head: above the hairline, down to the sideburns."""
    xp = namespace(shell.u)
    u, v = shell.u, shell.v
    temple = rise(xp.abs(u), 0.46, 0.74)
    line = hair.hairline + 0.12 * xp.abs(u - 0.5 * hair.part)
    sideburn = {"cropped": -0.10, "bun": -0.15, "quiff": -0.02}.get(hair.cut, 0.08)
    if hair.cut == "bangs":
        line = -0.20 + 0.05 * xp.abs(u) + 0.0 * u
    if hair.cut == "swept":
        line = line + 0.22 * rise(u * (1.0 if hair.part > 0 else -1.0), -0.2, 0.55)
    if hair.cut in LONG:
        sideburn = 0.35
    line = line + (sideburn - line) * temple
    jag = 0.075 if hair.cut in ("bangs", "curly", "swept") else 0.035
    over_face = inside(v - line + jag * strands, edge + 0.05)
    nape = inside(v - 0.30, 0.2) * inside(shell.w + 0.12, 0.15)
    return xp.maximum(over_face, nape)


def _drape(x: Field, y: Field, portrait: Scene, edge: float) -> tuple[Field, Field]:
    """Long hair: the mass behind neck and face, and the locks that frame the face."""
    xp = namespace(x)
    hair, face, pose = portrait.hair, portrait.face, portrait.pose
    reach = LONG[hair.cut] * (0.86 + 0.22 * hair.length)
    sx = x + pose.roll * y - 0.10 * pose.yaw  # hangs straight down whatever the head's tilt
    swing = 0.05 * hair.wave * xp.sin(5.2 * y + hair.seed % 7) * (1.6 if hair.cut == "wavy" else 0.5)
    rough = 0.05 * noise(sx * 9, y * 1.2, hair.seed + 9)
    flare = 0.12 + 0.10 * hair.wave
    tuck = 0.30 * rise(y, reach - 0.45, reach) if hair.cut == "bob" else 0.10 * rise(y, reach - 0.5, reach)
    half = face.width * hair.volume * (1.0 + flare * rise(y, -0.4, 0.7) - tuck) + rough
    bottom = (
        y
        - reach
        + 0.25 * (sx / half) ** 2 * (1 if hair.cut == "bob" else 1.6)
        + 0.06 * noise(sx * 7, y * 0, hair.seed + 2)
    )
    drape = inside(xp.maximum(xp.maximum(xp.abs(sx + swing) - half, bottom), -0.25 - y), edge + 0.02)
    inner = face.width * (0.93 - 0.05 * rise(y, 0.2, 0.8)) + 0.04 * noise(sx * 2, y * 2.5, hair.seed + 4)
    strip = xp.maximum(inner - xp.abs(sx + swing - 0.15 * pose.yaw), xp.abs(sx + swing) - half)
    locks = inside(xp.maximum(xp.maximum(strip, bottom), -0.35 - y), edge + 0.03)
    return drape, locks


def _bun(x: Field, y: Field, portrait: Scene, edge: float) -> Field:
    xp = namespace(x)
    cx, cy, _ = (float(c) for c in rotation(portrait.pose) @ np.array([0.0, -1.08, -0.25]))
    radius = 0.24 + 0.08 * portrait.hair.length
    return inside(xp.hypot(x - cx, (y - cy) * 1.1) - radius + 0.02 * noise(x * 9, y * 9, portrait.hair.seed), edge)


def _lit_strands(canvas: Grid, shell: Surface, portrait: Scene, strands: Field, x: Field, y: Field) -> Field:
    """Hair colour under the light, with a soft band of gloss across the strands."""
    xp = namespace(x)
    hair, light = portrait.hair, portrait.light
    fall = 1.0 - rise(y, 0.2, 1.2)
    normal = normals(shell.height * fall + 0.035 * strands, canvas.pixel / portrait.pose.height)
    # hanging hair is a gentle curtain without steep edges
    curtain = (xp.tanh(x) * 0.6, 0.0, 0.8)
    nx, ny, nz = (normal[i] * fall + curtain[i] * (1 - fall) for i in range(3))
    lit = illuminate((nx, ny, nz), light, (0.5, 0.5, 0.5))
    tone = hair.tone * (1.0 + 0.22 * strands[..., None]) + 0.015
    band = bell(
        (shell.v + 0.62 - 0.25 * light.direction[1]) + 0.10 * strands,
        0.35 * (shell.u - light.direction[0] * 0.6),
        0.13,
    )
    shine = (0.05 + 0.22 * hair.tone.mean()) * band * xp.clip(0.7 + 0.6 * strands, 0, 1.5)
    if hair.cut in ("curly", "cropped"):
        shine = 0.35 * shine
    return xp.clip(tone * lit + shine[..., None], 0.0, 1.0)
