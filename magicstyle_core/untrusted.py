"""Parts of a bank's description as they come out of a file: each is checked, none is trusted.

A check that fails raises ``ManifestError``, whose text is the part of a sentence that says what is wrong.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from .bank import ModelFingerprint
from .layers import BLOCKS, AttentionLayer, LayerKey
from .tensor_file import Slot, name_of

TRAJECTORY = ("sigmas", "latents", "noise")
TOLD = ("told.context", "told.pooled")

_TYPES = {name_of(dtype): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
_KEY = re.compile(rf"({'|'.join(BLOCKS)})\.(\d{{1,4}})\.(\d{{1,4}})")
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 20  # of any side, width, count or number of steps
_LONGEST_TEXT = 400


class ManifestError(ValueError):
    """What a file says of its bank makes no sense."""


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise ManifestError(problem)


def shown(value: Any) -> str:
    """A value of any kind, short."""
    return repr(value)[:60] if isinstance(value, str | int | float) else type(value).__name__


def integer(value: Any, what: str, low: int = 1, high: int = _LARGEST) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(good, f"{what} is {shown(value)}; expected a whole number from {low} to {high}")
    return value


def listed(value: Any, what: str, length: int | None = None) -> list:
    good = isinstance(value, list) and (length is None or len(value) == length)
    require(good, f"{what} is no list{'' if length is None else f' of {length}'}")
    return value


def text(value: Any, what: str) -> str:
    good = isinstance(value, str) and len(value) <= _LONGEST_TEXT and (value.isprintable() or not value)
    require(good, f"{what} is {shown(value)}; expected a short text")
    return value


def sigmas(value: Any) -> tuple[float, ...]:
    numbers = listed(value, "the list of sigmas")
    good = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    rising = good and len(numbers) >= 2 and numbers[0] == 0
    rising = rising and all(low < high for low, high in zip(numbers, numbers[1:], strict=False))
    require(rising, "the sigmas do not rise from 0")
    return tuple(numbers)


def latent(value: Any) -> tuple[int, int, int, int]:
    """``(B,C,H,W)``."""
    batch, channels, height, width = (integer(side, "a latent size") for side in listed(value, "the latent size", 4))
    return batch, channels, height, width


def layers(value: Any) -> tuple[AttentionLayer, ...]:
    layers = []
    for entry in listed(value, "the list of layers"):
        key, channels, scale = listed(entry, "a layer", 3)
        found = _KEY.fullmatch(key) if isinstance(key, str) else None
        if found is None:
            raise ManifestError(f"a layer is called {shown(key)}")
        address = LayerKey(found[1], int(found[2]), int(found[3]))
        require(str(address) == key, f"a layer is called {shown(key)}")
        layers.append(AttentionLayer(address, integer(channels, "a layer's width"), integer(scale, "a layer's scale")))
    require(len({layer.key for layer in layers}) == len(layers), "a layer comes twice")
    return tuple(layers)


def kept_for(value: Any, steps: int) -> dict[int, int]:
    pairs = [listed(pair, "an entry of kept_for", 2) for pair in listed(value, "kept_for")]
    kept_for = {integer(step, "a step", 1, steps): integer(kept, "a kept step", 1, steps) for step, kept in pairs}
    require(len(kept_for) == len(pairs), "a step comes twice in kept_for")
    require(
        all(kept_for.get(kept) == kept for kept in kept_for.values()),
        "a step reads the features of a step that is not kept",
    )
    return kept_for


def tensors(value: Any, levels: int, latent: tuple[int, ...], live: bool) -> dict[str, Slot]:
    """Trajectory, and what a live bank is told, as far as their types and free sides go."""
    require(isinstance(value, dict), "the list of tensors is none")
    shapes = {"sigmas": (levels,), "latents": (levels, *latent), "noise": latent}
    needed, allowed = set(TRAJECTORY[:2]), set(TRAJECTORY)
    if live:
        needed, allowed = needed | {TOLD[0]}, allowed | set(TOLD)
    require(needed <= set(value) <= allowed, f"its tensors are {', '.join(value)[:80]}")
    slots = {}
    for name, entry in value.items():
        kind, sides = listed(entry, f"tensor {name}", 2)
        require(isinstance(kind, str) and kind in _TYPES, f"tensor {name} has type {shown(kind)}")
        shape = tuple(integer(side, f"a side of {name}") for side in listed(sides, f"the shape of {name}"))
        free = {TOLD[0]: 3, TOLD[1]: 2}
        good = len(shape) == free[name] and shape[0] == 1 if name in free else shape == shapes[name]
        require(good, f"tensor {name} has shape {shape}; expected {shapes.get(name, '(1, ...)')}")
        slots[name] = Slot(_TYPES[kind], shape)
    return slots


def fingerprint(value: Any, layers: int) -> ModelFingerprint:
    fields = set(ModelFingerprint._fields)
    require(isinstance(value, dict) and set(value) == fields, "the model is not described as it should be")
    texts = {name: text(value[name], f"the model's {name}") for name in ("name", "prediction", "weights")}
    sizes = {name: integer(value[name], f"the model's {name}") for name in ("channels", "context", "layers")}
    require(layers <= sizes["layers"], f"it has {layers} layers, its model has {sizes['layers']}")
    return ModelFingerprint(**{**texts, **sizes})  # type: ignore[arg-type]


def hashes(value: Any) -> dict[str, str]:
    good = isinstance(value, dict) and "latent" in value and set(value) <= {"latent", "image"}
    good = good and all(isinstance(text, str) and _HASH.fullmatch(text) for text in value.values())
    require(good, "its hashes are none")
    return value
