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


# Relative to a latent's mean variance: a channel that is flat in the source would otherwise be amplified without bound.
_VARIANCE_FLOOR = 1e-4


def transport(latent: Tensor, reference: Tensor, strength: float = 1.0) -> Tensor:
    """Give ``latent (B,C,H,W)`` the mean and covariance over channels of ``reference (B or 1,C,h,w)``.

    The optimal transport map between the two Gaussians, ``T = P^-1/2 (P^1/2 Q P^1/2)^1/2 P^-1/2`` for covariances
    P and Q (linear Monge-Kantorovitch colour mapping, Pitie and Kokaram 2007): of all affine maps with these
    moments, the one that moves the latent least. Channels of a latent mix colour and fine detail, so on the
    finished latent this aligns contrast and grain with colour. Strength 0 returns the latent as it is.
    """
    if strength == 0:
        return latent
    wide = latent.to(torch.promote_types(latent.dtype, torch.float32))
    mean, covariance = _moments(wide)
    target_mean, target = _moments(reference.to(wide))
    half, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
    matrix = inverse @ _power(half @ target @ half, 0.5) @ inverse
    moved = torch.einsum("bij,bjhw->bihw", matrix.to(wide), wide - mean) + target_mean
    return (wide + strength * (moved - wide)).to(latent)


def _moments(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(B,C,1,1)``, and covariance ``(B,C,C)`` in float64 on the CPU: small, and not every device has float64."""
    mean = latent.mean((2, 3), keepdim=True)
    centered = (latent - mean).flatten(2)
    covariance = (centered @ centered.mT / centered.shape[2]).cpu().double()
    floor = _VARIANCE_FLOOR * covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float32).tiny)
    return mean, covariance + floor[:, None, None] * torch.eye(covariance.shape[1], dtype=torch.float64)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Symmetric positive matrices ``(B,C,C)`` to a power."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.clamp_min(torch.finfo(torch.float64).tiny).pow(exponent)[:, :, None] * vectors.mT)
