"""The array library of the drawing code: NumPy, or torch on a device.

A drawing function asks `namespace` for the functions that fit the arrays it was given, and writes each formula
once. Whatever is drawn at random is drawn by NumPy and moved, so that both libraries show the same picture.
NumPy is the reference; torch differs from it by rounding.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

if TYPE_CHECKING:
    import torch


class Numpy:
    """NumPy under its own names, and what the two libraries do not name alike."""

    abs, arctan2, broadcast_to, clip, cos, exp, flip = map(
        staticmethod, (np.abs, np.arctan2, np.broadcast_to, np.clip, np.cos, np.exp, np.flip)
    )
    floor, full_like, gradient, hypot, log, maximum, minimum = map(
        staticmethod, (np.floor, np.full_like, np.gradient, np.hypot, np.log, np.maximum, np.minimum)
    )
    roll, round, sign, sin, sort, sqrt, stack, std = map(
        staticmethod, (np.roll, np.round, np.sign, np.sin, np.sort, np.sqrt, np.stack, np.std)
    )
    copy, searchsorted, tanh, where, zeros_like = map(
        staticmethod, (np.copy, np.searchsorted, np.tanh, np.where, np.zeros_like)
    )

    @staticmethod
    def asarray(array: np.ndarray) -> np.ndarray:
        """An array drawn by NumPy, as this library holds it."""
        return array

    @staticmethod
    def color(*rgb: float) -> np.ndarray:
        """A colour as float32 (3,)."""
        return np.array(rgb, np.float32)

    @staticmethod
    def floats(array: np.ndarray) -> np.ndarray:
        """The array as float32."""
        return array.astype(np.float32)

    @staticmethod
    def integers(array: np.ndarray) -> np.ndarray:
        """The array as indices, rounded towards zero."""
        return array.astype(np.int32)

    @staticmethod
    def number(value: Any) -> float:
        """A plain number that keeps float32 arrays float32 (torch: a tensor without axes, left where it is)."""
        return float(value)

    @staticmethod
    def percentiles(array: np.ndarray, percents: tuple[float, ...]) -> tuple[float, ...]:
        """Percentiles of all values, linear between neighbours."""
        return tuple(float(q) for q in np.percentile(array, percents))

    @staticmethod
    def gaussian(field: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur of (S, S) or (S, S, C) by `sigma` pixels, cut off at three deviations."""
        return gaussian_filter(field, (sigma, sigma, 0.0)[: field.ndim], mode="nearest", truncate=3.0)

    @staticmethod
    def bilinear(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """An image (S, S, C) read between its pixels; `row`, `column` (S, S) in pixels."""
        place = [row, column]
        planes = [map_coordinates(image[..., c], place, order=1, mode="nearest") for c in range(image.shape[-1])]
        return np.stack(planes, -1)


NUMPY = Numpy()


def namespace(array: Any) -> Any:
    """The functions for arrays like this one."""
    return NUMPY if isinstance(array, np.ndarray) else _torch_on(array.device)


def on_device(device: torch.device | str | None) -> Any:
    """The functions for torch tensors on `device`; for NumPy arrays if it is None."""
    if device is None:
        return NUMPY
    import torch  # rendering with NumPy needs no torch

    return _torch_on(torch.empty(0, device=device).device)  # "cuda" becomes "cuda:0", as tensors name it


@cache
def _torch_on(device: torch.device) -> Any:
    from .backend_torch import Torch

    return Torch(device)


def moved(record: Any, xp: Any) -> Any:
    """A dataclass, dataclasses inside it included, with its arrays as `xp` holds them."""
    if xp is NUMPY:
        return record
    changed = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = moved(value, xp)
        elif isinstance(value, np.ndarray):
            changed[field.name] = xp.asarray(value)
    return dataclasses.replace(record, **changed)
