"""Picture styles from seeds. A style is anchored to the canvas and deterministic, so
`apply(style, render(person))` is the known truth of "this person in that style"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..backend import moved, namespace
from ..fields import Field
from . import paint, pieces, prints
from .parameters import KINDS, Style, style
from .texture import exposure

_PAINTERS: dict[str, Callable[[Field, Style], Field]] = {
    kind: getattr(module, kind) for module in (paint, prints, pieces) for kind in KINDS if hasattr(module, kind)
}

Image = TypeVar("Image")  # a NumPy array or a torch tensor


def apply(chosen: Style, image: Image) -> Image:
    """`image` (S, S, 3) in 0..1 drawn in a style; same kind of array, shape and range."""
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3:
        raise ValueError(f"Expected a square image (S, S, 3); got {image.shape}.")
    xp = namespace(image)
    painted = _PAINTERS[chosen.kind](exposure(xp.floats(image)), moved(chosen, xp))
    return xp.floats(xp.clip(painted, 0.0, 1.0))


__all__ = ["KINDS", "Style", "apply", "style"]
