"""Random changes of training pictures (B, 3, H, W) in 0..1: place, colour, and what codecs and samplers do to them.

All draw from torch's global generator, so that a seed fixes a training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def move(x: Tensor, reach: int) -> Tensor:
    """Each picture moved by up to `reach` pixels, filled by reflection."""
    return crop(F.pad(x, (reach,) * 4, mode="reflect"), x.shape[2])


def crop(x: Tensor, side: int) -> Tensor:
    """A square of `side` pixels from anywhere in each picture."""
    places = torch.randint(x.shape[2] - side + 1, (len(x), 2)).tolist()
    return torch.stack([p[:, i : i + side, j : j + side] for p, (i, j) in zip(x, places, strict=True)])


def turn(x: Tensor) -> Tensor:
    """Half of the pictures mirrored."""
    return torch.where(_chance(x, 0.5), x.flip(3), x)


def recolor(x: Tensor) -> Tensor:
    """Three of five pictures in the colours of another (mean and deviation of red, green and blue), and half of all
    with channels exchanged. A palette then says little about the style; some say, since two inks are two inks."""
    mean, deviation = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True) + 0.01
    other, own = torch.randperm(len(x)), (x - mean) / deviation
    changed = (own * deviation[other] + mean[other]).clamp(0, 1)
    mixed = torch.where(_chance(x, 0.6), changed, x)
    return torch.where(_chance(x, 0.5), mixed[:, torch.randperm(3)], mixed)


def degrade(x: Tensor) -> Tensor:
    """What codecs and samplers do: blur, a coarser grid, quantised blocks, grain; each to a part of the batch."""
    side = x.shape[2]
    soft = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.where(_chance(x, 0.3), x + (soft - x) * (0.8 * torch.rand(len(x), 1, 1, 1)), x)
    fewer = int(side * (0.65 + 0.3 * torch.rand(())))
    coarse = F.interpolate(F.interpolate(x, size=fewer, mode="area"), size=side, mode="bilinear", align_corners=False)
    x = torch.where(_chance(x, 0.2), coarse, x)
    mean = F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0)
    step = 0.05 + 0.10 * torch.rand(len(x), 1, 1, 1)
    x = torch.where(_chance(x, 0.2), mean + ((x - mean) / step).round() * step, x)
    return (x + torch.randn_like(x) * (0.04 * torch.rand(len(x), 1, 1, 1))).clamp(0, 1)


def weaken(x: Tensor, plain: Tensor) -> Tensor:
    """A third of the pictures blended with the unpainted portrait, down to nothing of the style."""
    return torch.where(_chance(x, 0.33), x + (plain - x) * torch.rand(len(x), 1, 1, 1), x)


def _chance(x: Tensor, share: float) -> Tensor:
    return torch.rand(len(x), 1, 1, 1) < share
