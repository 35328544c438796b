"""Style features laid out as the content is: what the style would look like at every token of the portrait.

Stored style queries carry two things: where things are in the style picture, which ghosts into a portrait that is
posed otherwise, and the strokes and dots there. `relay` replaces the first and keeps the second.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bank.features import Feature

SHARPNESS = 20.0  # of the softmax over cosine similarities; 60 gave the same trade-off on the demo model
WINDOW = 5  # tokens; what varies faster counts as texture


def relay(style: Feature, content: Feature) -> Tensor:
    """Style hidden states ``(B,S,C)`` in the content's layout, ``(B,T,C)``: matched content, own texture."""
    return match(style, content) + texture(style, content.grid)


def match(style: Feature, content: Feature) -> Tensor:
    """For every token of the content the style tokens that resemble it, averaged by resemblance: ``(B,T,C)``.

    Resemblance is the cosine between features whose mean and deviation over the tokens were aligned, so that a pale
    portrait finds its eyes in a dark picture.
    """
    wanted, offered = _centered(content.hidden), _centered(style.hidden)
    wanted = wanted / _deviation(wanted) * _deviation(offered)
    query, key = (F.normalize(tokens, dim=-1)[:, None] for tokens in (wanted, offered))
    return F.scaled_dot_product_attention(query * SHARPNESS, key, style.hidden[:, None], scale=1.0)[:, 0]


def texture(style: Feature, grid: tuple[int, int]) -> Tensor:
    """What varies within a few tokens, on another grid at the same scale: ``(B,S,C) -> (B,h*w,C)``.

    A larger grid is filled by reflection, a smaller one cuts out: resampling would change the size of strokes.
    """
    image = style.hidden.transpose(1, 2).unflatten(2, style.grid)  # (B,C,h,w)
    fine = image - _smooth(image)
    if grid != style.grid:
        rows, columns = (_reflected(new, old).to(image.device) for new, old in zip(grid, style.grid, strict=True))
        fine = fine[:, :, rows][:, :, :, columns]
    return fine.flatten(2).transpose(1, 2)


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


def _centered(tokens: Tensor) -> Tensor:
    return tokens - tokens.mean(1, keepdim=True)


def _deviation(centered: Tensor) -> Tensor:
    # On the CPU torch's own deviation along this axis takes eight times as long.
    deviation = torch.linalg.vector_norm(centered, dim=1, keepdim=True) / centered.shape[1] ** 0.5
    return deviation.clamp_min(torch.finfo(centered.dtype).eps)
