"""The bare head: its solid, relief and skin."""

from __future__ import annotations

import math

from .backend import namespace
from .fields import Field, Grid, bell, blur, cloud, inside, noise, over, rise, soft_min
from .scene import Scene
from .solids import Surface, ellipsoid, gloss, head_plane, illuminate, normals, rotation, surface

EYE_LEVEL = 0.0
SKIN_WRAP = (0.55, 0.36, 0.28)


def head(canvas: Grid, portrait: Scene) -> Surface:
    """Cranium and jaw, melted together."""
    face, turn = portrait.face, rotation(portrait.pose)
    x, y = head_plane(canvas, portrait.pose)
    top, top_edge = ellipsoid(x, y, turn, (0.0, -0.27, -0.12), (face.width, 0.73, 0.80))
    jaw, jaw_edge = ellipsoid(x, y, turn, (0.0, face.chin - 0.74, 0.02), (face.jaw, 0.74, 0.66))
    height = -soft_min(-top, -jaw, 0.22)
    return surface(x, y, turn, height, soft_min(top_edge, jaw_edge, 0.16))


def nose_axis(skull: Surface, portrait: Scene) -> tuple[Field, Field]:
    """Sideways offset from the nose's ridge and progress along it (0 at the root, 1 at the tip)."""
    xp = namespace(skull.u)
    face, pose = portrait.face, portrait.pose
    along = xp.clip((skull.v - EYE_LEVEL + 0.10) / (face.nose_length + 0.10), 0.0, 1.3)
    lean = math.tan(pose.yaw) * face.nose_height * 0.8
    return skull.u - lean * along, along


def relief(skull: Surface, portrait: Scene) -> Field:
    """Height added by nose, sockets, brow, cheeks, lips and age lines, in head units."""
    xp = namespace(skull.u)
    face = portrait.face
    u, v = skull.u, skull.v
    side, along = nose_axis(skull, portrait)
    width = face.nose_width * (0.50 + 0.42 * along)
    end = inside(v - EYE_LEVEL - face.nose_length - 0.02, 0.10)
    bump = face.nose_height * 0.72 * xp.exp(-0.5 * (side / width) ** 2) * along**1.3 * end
    tip = EYE_LEVEL + face.nose_length - 0.02
    lean = math.tan(portrait.pose.yaw) * face.nose_height * 0.8
    bump += 0.05 * bell(xp.abs(u - lean) - face.nose_width * 0.85, v - tip, 0.05)  # wings
    bump += 0.07 * bell(xp.abs(u) - 0.38, (v - 0.26) * 0.9, 0.17)  # cheeks
    bump -= 0.075 * bell((xp.abs(u) - face.eye_gap) * 0.8, v - EYE_LEVEL + 0.01, 0.11)  # sockets
    bump += 0.03 * bell(u * 0.35, v + 0.20, 0.07)  # brow
    bump += 0.05 * bell(u, v - face.chin + 0.09, 0.13)
    mouth = EYE_LEVEL + face.nose_length + 0.24
    bump += 0.035 * bell(u * 0.5, v - mouth, 0.08) - 0.02 * bell(u, v - mouth + 0.10, 0.05)
    crease = xp.abs(u) - 0.17 - 0.35 * (v - tip + 0.05)
    bump -= 0.022 * face.age * xp.exp(-0.5 * (crease / 0.028) ** 2) * inside(xp.abs(v - tip - 0.10) - 0.13, 0.1)
    if face.age > 0.45:
        lines = xp.sin(v * 55 + 1.5 * noise(u * 3, v * 3, 5)) * rise(-v, 0.26, 0.36) * bell(u, 0.0, 0.3)
        bump += 0.006 * (face.age - 0.45) * lines
    return bump * rise(skull.w, -0.05, 0.25)


def skin_tone(skull: Surface, portrait: Scene) -> Field:
    """Albedo (S, S, 3): base tone with redder cheeks and nose, freckles, shade under the eyes."""
    xp = namespace(skull.u)
    face = portrait.face
    u, v = skull.u, skull.v
    tip = EYE_LEVEL + face.nose_length
    red = face.blush * (bell(xp.abs(u) - 0.38, v - 0.25, 0.15) + 0.6 * bell(u, v - tip, 0.11))
    red += 0.10 * cloud(u * 4, v * 4, 3, 2)
    tone = face.skin * (1.0 - xp.clip(red, 0, 0.7)[..., None] * xp.color(0.02, 0.26, 0.24))
    shade = 0.22 * bell((xp.abs(u) - face.eye_gap) * 0.7, v - EYE_LEVEL - 0.11, 0.06) * (0.4 + face.age)
    if face.freckles > 0:
        spots = rise(noise(u * 26, v * 26, 8), 0.45, 0.7) * bell(u * 0.6, v - 0.18, 0.2)
        shade = shade + 0.35 * face.freckles * spots
    return tone * (1.0 - xp.clip(shade, 0, 0.6)[..., None] * xp.color(0.7, 0.9, 1.0))


def nostrils(skull: Surface, portrait: Scene) -> Field:
    """Darkening (S, S) of nostrils and the shadow under the nose."""
    xp = namespace(skull.u)
    face = portrait.face
    lean = math.tan(portrait.pose.yaw) * face.nose_height * 0.8
    tip = EYE_LEVEL + face.nose_length
    holes = bell(xp.abs(skull.u - lean) - face.nose_width * 0.50, (skull.v - tip - 0.025) * 1.8, 0.028)
    shadow = bell((skull.u - lean) * 0.55, skull.v - tip - 0.075, 0.045)
    return (0.58 * holes + 0.09 * shadow) * rise(skull.w, 0.0, 0.3)


def beard(skull: Surface, portrait: Scene) -> Field:
    """Opacity (S, S) of beard and moustache."""
    xp = namespace(skull.u)
    face = portrait.face
    u, v = skull.u, skull.v
    mouth = EYE_LEVEL + face.nose_length + 0.24
    hairs = 0.88 + 0.14 * noise(u * 34 + 4 * noise(u * 5, v * 5, 2), v * 13, 12)
    low = rise(v - 0.30 + 0.95 * xp.clip(0.42 - xp.abs(u), 0, 1) * inside(mouth - 0.16 - v, 0.1), 0.0, 0.2)
    cheek = rise(v + 0.30 * xp.abs(u), mouth - 0.20, mouth + 0.02)
    full = face.beard * xp.maximum(cheek * low, rise(xp.abs(u), 0.44, 0.54) * rise(v, 0.0, 0.3))
    lip = face.moustache * bell(u * 0.42, (v - mouth + 0.105) * 1.3, 0.06)
    bare = bell(u * 0.5, (v - mouth) * 1.6, 0.07)
    return xp.clip(xp.maximum(full * (1 - 0.9 * bare), 1.2 * lip) * hairs, 0.0, 0.94)


def paint_skin(canvas: Grid, skull: Surface, portrait: Scene, shadow: Field) -> tuple[Field, Field]:
    """The lit head without features (S, S, 3) and its brightness (S, S). `shadow` (S, S) takes light away."""
    xp = namespace(skull.u)
    light = portrait.light
    height = skull.height + relief(skull, portrait)
    normal = normals(height, canvas.pixel / portrait.pose.height)
    lit = illuminate(normal, light, SKIN_WRAP) * (1.0 - shadow[..., None] * xp.color(0.50, 0.58, 0.60))
    hollow = xp.clip(blur(height, 0.10 * portrait.pose.height) - height, 0.0, 0.2)
    lit = lit * (1.0 - 1.6 * hollow)[..., None]
    tone = over(skin_tone(skull, portrait), portrait.hair.tone * 0.75, beard(skull, portrait))
    image = tone * lit * (1.0 - xp.clip(nostrils(skull, portrait), 0, 0.85))[..., None]
    shine = gloss(normal, light, 24.0) * (1.0 - 0.8 * beard(skull, portrait))
    image = image + 0.13 * shine[..., None]
    edge = xp.clip(1.0 - normal[2], 0, 1) ** 3 * (normal[0] * light.direction[0] < 0)
    return image + 0.6 * light.rim * edge[..., None], lit.mean(-1)
