"""The torch form of `backend.Numpy`. Nothing here waits for the device: no value is read back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Torch:
    """What the drawing code calls, on tensors of one device; see `backend.Numpy` for the meaning."""

    abs, arctan2, broadcast_to, clip, cos, exp = map(
        staticmethod, (torch.abs, torch.arctan2, torch.broadcast_to, torch.clip, torch.cos, torch.exp)
    )
    copy, floor, full_like, hypot, log, roll, round = map(
        staticmethod, (torch.clone, torch.floor, torch.full_like, torch.hypot, torch.log, torch.roll, torch.round)
    )
    searchsorted, sign, sin, sqrt, stack = map(
        staticmethod, (torch.searchsorted, torch.sign, torch.sin, torch.sqrt, torch.stack)
    )
    tanh, where, zeros_like = map(staticmethod, (torch.tanh, torch.where, torch.zeros_like))

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.color = lru_cache(maxsize=512)(self._color)
        self._blur_matrix = lru_cache(maxsize=128)(self._make_blur_matrix)

    def asarray(self, array: np.ndarray) -> Tensor:
        return self._moved(torch.from_numpy(np.ascontiguousarray(array, np.float32)))

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # else the copy waits for everything before it
        return tensor.to(self.device, non_blocking=True)

    def _color(self, *rgb: float) -> Tensor:
        return self.asarray(np.array(rgb, np.float32))

    @staticmethod
    def floats(array: Tensor) -> Tensor:
        return array.float()

    @staticmethod
    def integers(array: Tensor) -> Tensor:
        return array.long()

    @staticmethod
    def number(value: Tensor) -> Tensor:
        return value

    @staticmethod
    def maximum(a: Tensor, b: Tensor | float) -> Tensor:
        return torch.maximum(a, b) if isinstance(b, Tensor) else torch.clamp_min(a, b)

    @staticmethod
    def minimum(a: Tensor, b: Tensor | float) -> Tensor:
        return torch.minimum(a, b) if isinstance(b, Tensor) else torch.clamp_max(a, b)

    @staticmethod
    def flip(array: Tensor, axis: int) -> Tensor:
        return array.flip(axis)

    @staticmethod
    def sort(array: Tensor) -> Tensor:
        return torch.sort(array).values

    @staticmethod
    def std(array: Tensor) -> Tensor:
        return array.std(correction=0)

    @staticmethod
    def gradient(field: Tensor, step: float = 1.0) -> tuple[Tensor, Tensor]:
        """Differences along rows and columns: central inside, one-sided at the borders."""

        def along(f: Tensor) -> Tensor:  # along the first axis
            inner = (f[2:] - f[:-2]) / (2.0 * step)
            return torch.cat([(f[1:2] - f[:1]) / step, inner, (f[-1:] - f[-2:-1]) / step])

        return along(field), along(field.T).T

    @staticmethod
    def percentiles(array: Tensor, percents: tuple[float, ...]) -> tuple[Tensor, ...]:
        ordered = torch.sort(array.flatten()).values
        found = []
        for percent in percents:
            place = percent / 100.0 * (len(ordered) - 1)
            below = min(int(place), len(ordered) - 2)
            found.append(torch.lerp(ordered[below], ordered[below + 1], place - below))
        return tuple(found)

    def gaussian(self, field: Tensor, sigma: float) -> Tensor:
        """Both axes as products with one banded matrix, in double precision: it is the same at every setting of
        the device's reduced-precision products, and independent of how wide the blur is."""
        rows, wide = self._blur_matrix(float(sigma), field.shape[0]), field.double()
        wide = (rows @ wide.flatten(1)).view(field.shape)
        return (rows @ wide if field.ndim == 3 else wide @ rows.T).float()

    def _make_blur_matrix(self, sigma: float, size: int) -> Tensor:
        """(S, S): the weight of each pixel (column) in each blurred pixel (row); the border repeats outwards."""
        reach = int(3.0 * sigma + 0.5)
        offset = np.arange(-reach, reach + 1)
        weight = np.exp(-0.5 / max(sigma * sigma, 1e-30) * offset**2)
        target = np.arange(size)[:, None]
        flat = target * size + np.clip(target + offset, 0, size - 1)
        weights = np.broadcast_to(weight / weight.sum(), flat.shape)
        matrix = np.bincount(flat.ravel(), weights.ravel(), size * size).reshape(size, size)
        return self._moved(torch.from_numpy(matrix))

    @staticmethod
    def bilinear(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        height, width = image.shape[:2]
        y, x = row.clamp(0, height - 1), column.clamp(0, width - 1)
        y0, x0 = y.floor().clamp(max=height - 2), x.floor().clamp(max=width - 2)
        fy, fx = (y - y0)[..., None], (x - x0)[..., None]
        j, i = y0.long(), x0.long()
        top = image[j, i] + (image[j, i + 1] - image[j, i]) * fx
        bottom = image[j + 1, i] + (image[j + 1, i + 1] - image[j + 1, i]) * fx
        return top + (bottom - top) * fy
