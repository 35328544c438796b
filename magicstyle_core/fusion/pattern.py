"""What varies within a few tokens of a picture's features: strokes, dots, cells; and whether it repeats.

Where such a part lies tells the place in the picture, and attention that is asked with it returns the whole place. A
lattice is alike a period further on, so that the part which repeats tells no place: it may stay where it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bank.features import Feature

WINDOW = 5  # tokens; what varies faster counts as fine
NEAR = 3  # waves on each side among which one has to stand out
STANDS_OUT = 8.0  # times the middle of its neighbours' power, where half of a wave is kept


def fine(feature: Feature) -> Tensor:
    """What varies within a few tokens: ``(B,S,C)`` to ``(B,C,h,w)``."""
    image = feature.hidden.transpose(1, 2).unflatten(2, feature.grid)
    return image - _smooth(image)


def regular(image: Tensor) -> Tensor:
    """The part of ``image (B,C,h,w)`` that repeats: waves whose power stands out among waves like them.

    Zeros for pictures without order, and for those too small to tell.
    """
    if min(image.shape[2:]) <= 2 * NEAR:
        return torch.zeros_like(image)
    waves = torch.fft.fft2(image if image.dtype == torch.float64 else image.float())
    power = waves.abs().square().sum(1, keepdim=True)
    around = F.unfold(F.pad(power, (NEAR,) * 4, mode="circular"), 2 * NEAR + 1).median(1).values.view_as(power)
    outstanding = (power / (STANDS_OUT * around).clamp_min(torch.finfo(power.dtype).tiny)).clamp_max(1e9).square()
    return torch.fft.ifft2(waves * (outstanding / (1 + outstanding))).real.to(image.dtype)


def extended(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """``image (B,C,h,w)`` on another grid at the same scale: ``(B,C,*grid)``.

    A larger grid is filled by reflection, a smaller one cuts out: resampling would change the size of strokes.
    """
    if image.shape[2:] == grid:
        return image
    rows, columns = (_reflected(new, old).to(image.device) for new, old in zip(grid, image.shape[2:], strict=True))
    return image[:, :, rows][:, :, :, columns]


def _smooth(image: Tensor) -> Tensor:
    """Mean of the window around every token of ``(B,C,h,w)``, reflected at the borders.

    Along one side after the other, which is several times as fast as in one go.
    """
    windows = [min(WINDOW, side - 1 + side % 2) for side in image.shape[2:]]  # odd, and no larger than the grid
    top, left = (window // 2 for window in windows)
    smooth = F.pad(image, (left, left, top, top), mode="reflect")
    for axis, (side, window) in enumerate(zip(image.shape[2:], windows, strict=True), 2):
        first, *others = (smooth.narrow(axis, start, side) for start in range(window))
        smooth = sum(others, first) / window
    return smooth


def _reflected(count: int, size: int) -> Tensor:
    """Indices 0 .. size-1 .. 0 .. of ``count`` places."""
    place = torch.arange(count) % max(2 * size - 2, 1)
    return torch.minimum(place, 2 * (size - 1) - place).clamp_min(0)
