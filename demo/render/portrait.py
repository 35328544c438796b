"""A whole portrait: background, hair behind, body, head, features, hair in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .backdrop import paint_backdrop
from .backend import moved, namespace, on_device
from .clothes import paint_body
from .face import head, paint_skin
from .features import eyes_and_mouth, paint_brows, paint_ears, paint_eyes, paint_glasses, paint_mouth
from .fields import Field, Grid, blur, grid, inside, over
from .hair import paint_hair
from .scene import Scene
from .solids import head_plane

if TYPE_CHECKING:
    import torch

GRAIN = 0.006


@overload
def render(portrait: Scene, size: int, device: None = None) -> tuple[Field, dict[str, Field]]: ...


@overload
def render(
    portrait: Scene, size: int, device: torch.device | str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]: ...


def render(portrait: Scene, size: int, device: torch.device | str | None = None) -> tuple[Any, dict[str, Any]]:
    """Draw `portrait` at `size` x `size` pixels.

    Returns the image (size, size, 3), float32 in 0..1, and soft masks (size, size) in 0..1 named `head`,
    `hair`, `body` and `background`. The same scene shows the same picture at every size.
    NumPy arrays, or the same picture in torch tensors on `device`.
    """
    xp = on_device(device)
    portrait, canvas = moved(portrait, xp), grid(size, xp)
    edge = 1.3 * canvas.pixel / portrait.pose.height
    skull = head(canvas, portrait)
    head_mask = inside(skull.distance, edge)
    hair = paint_hair(canvas, portrait)
    image = paint_backdrop(canvas, portrait)
    image = over(image, hair.image * 0.66, hair.behind)
    image, body_mask = paint_body(image, canvas, portrait, _shadow(head_mask, portrait, 0.20, 0.05, 0.62))
    x, y = head_plane(canvas, portrait.pose)
    image = paint_ears(image, x, y, portrait, edge)
    face, brightness = paint_skin(canvas, skull, portrait, _shadow(hair.front, portrait, 0.06, 0.025, 0.55))
    face = paint_eyes(face, skull, portrait, brightness, edge)
    face = paint_brows(face, skull, portrait, edge)
    face = paint_mouth(face, skull, portrait, brightness, edge)
    face = paint_glasses(face, skull, portrait, edge)
    image = over(image, xp.clip(face, 0, 1), head_mask)
    image = over(image, hair.image, hair.front)
    hair_mask = xp.maximum(hair.front, hair.behind * (1 - xp.maximum(head_mask, body_mask)))
    covered = xp.maximum(xp.maximum(head_mask, hair_mask), body_mask)
    masks = {
        "head": head_mask * (1 - hair.front),
        "hair": hair_mask,
        "body": body_mask * (1 - head_mask) * (1 - hair.front),
    }
    return _finish(image, canvas, portrait), masks | {"background": 1.0 - covered}


def features(portrait: Scene, size: int) -> dict[str, Field]:
    """Soft masks (size, size) in 0..1 of what is seen of a portrait's `eyes` and `mouth`."""
    canvas = grid(size)
    edge = 1.3 * canvas.pixel / portrait.pose.height
    skull = head(canvas, portrait)
    seen = inside(skull.distance, edge) * (1 - paint_hair(canvas, portrait).front)
    return {name: mask * seen for name, mask in eyes_and_mouth(skull, portrait, edge).items()}


def _shadow(mask: Field, portrait: Scene, shift: float, softness: float, depth: float) -> Field:
    """What `mask` keeps from the light: shifted away from the light, blurred. Lengths in frame units."""
    size = mask.shape[0]
    lx, ly, lz = portrait.light.direction
    reach = shift * portrait.pose.height * 2.0 * size / 2.0
    sx, sy = round(-lx / (lz + 0.4) * reach), round((0.35 - ly / (lz + 0.4)) * reach)
    shifted = namespace(mask).zeros_like(mask)
    ys, xs = slice(max(sy, 0), size + min(sy, 0)), slice(max(sx, 0), size + min(sx, 0))
    yo, xo = slice(max(-sy, 0), size + min(-sy, 0)), slice(max(-sx, 0), size + min(-sx, 0))
    shifted[ys, xs] = mask[yo, xo]
    return depth * blur(shifted, softness)


def _finish(image: Field, canvas: Grid, portrait: Scene) -> Field:
    """Vignette, a filmic shoulder and fine grain."""
    xp = namespace(image)
    image = image * (1.03 - 0.12 * (canvas.x**2 + canvas.y**2))[..., None]
    image = xp.where(image > 0.8, 0.8 + 0.2 * xp.tanh((image - 0.8) / 0.2 * 0.9), image)
    grain = np.random.default_rng(portrait.seed + 77).normal(0, GRAIN, (*image.shape[:2], 1))
    return xp.floats(xp.clip(image + xp.asarray(grain), 0.0, 1.0))
