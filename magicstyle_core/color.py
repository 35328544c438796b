"""Colour alignment of latents."""

from __future__ import annotations

import torch
from torch import Tensor


def adain(latent: Tensor, reference: Tensor, strength: float = 1.0) -> Tensor:
    """Give ``latent (B,C,H,W)`` the mean and deviation per channel of ``reference (B or 1,C,h,w)``.

    Adaptive instance normalisation (arXiv 1703.06868), used on the initial latent as in StyleID
    (arXiv 2312.09008). Strength 0 returns the latent as it is, 1 the full alignment.
    """
    if strength == 0:
        return latent
    mean, std = _statistics(latent)
    target_mean, target_std = _statistics(reference.to(latent))
    aligned = (latent - mean) / std.clamp_min(torch.finfo(latent.dtype).eps) * target_std + target_mean
    return latent + strength * (aligned - latent)


def _statistics(latent: Tensor) -> tuple[Tensor, Tensor]:
    # The biased deviation is defined for a single token too, where the unbiased one is not a number.
    return latent.mean((2, 3), keepdim=True), latent.std((2, 3), correction=0, keepdim=True)
