"""Texture by example: small pieces of a latent replaced by pieces of the style's own latent.

Fused attention mixes style tokens by resemblance, one token at a time, so dots, tiles and parallel lines lose their
order. A piece of 3x3 cells keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .color import transport

SIDE = 3  # cells of a piece: on the demo model 2 bring less order, 5 cost more of the drawing
# Sigmas between which pieces are laid: the drawing is there by then, and enough steps are left to join the pieces.
LARGEST, SMALLEST = 4.5, 1.5
_AT_ONCE = 2**24  # similarities held in memory


def swap(latent: Tensor, reference: Tensor, side: int = SIDE) -> Tensor:
    """``latent (B,C,H,W)`` rebuilt of the pieces of ``reference (B or 1,C,h,w)`` nearest to its own, overlaps averaged.

    Style-swap (T. Q. Chen, M. Schmidt: Fast Patch-based Style Transfer of Arbitrary Style, arXiv 1612.04337), with the
    squared distance in place of the correlation.
    """
    height, width = latent.shape[2:]
    side = min(side, *reference.shape[2:])
    before, after = (side - 1) // 2, side // 2
    edges = (before, after, before, after)
    wanted = F.unfold(F.pad(latent, edges, mode="replicate"), side)  # (B, C*side*side, H*W)
    pieces = F.unfold(reference.to(latent).expand(len(latent), -1, -1, -1), side)  # (B, C*side*side, pieces)
    found = torch.cat([_nearest(part, pieces) for part in wanted.split(_columns(pieces), 2)], 2)
    size = (height + side - 1, width + side - 1)
    laid, times = F.fold(found, size, side), F.fold(torch.ones_like(found), size, side)
    return (laid / times)[:, :, before : before + height, before : before + width]


def _columns(pieces: Tensor) -> int:
    return max(1, _AT_ONCE // (pieces.shape[0] * pieces.shape[2]))


def _nearest(wanted: Tensor, pieces: Tensor) -> Tensor:
    """For each column of ``wanted (B,D,N)`` the column of ``pieces (B,D,M)`` at the least distance: ``(B,D,N)``."""
    likeness = pieces.mT @ wanted - pieces.square().sum(1)[:, :, None] / 2
    return pieces.gather(2, likeness.argmax(1)[:, None].expand(-1, pieces.shape[1], -1))


def laid_steps(sigmas: Tensor) -> int:
    """How many of these sigmas are those at which pieces are laid."""
    return int(((sigmas > SMALLEST) & (sigmas < LARGEST)).sum())


@dataclass(frozen=True, eq=False)
class TextureSwap:
    """Moves the denoised estimate towards its `swap` during the steps in the middle, in which texture is decided.

    ``reference``: the style's clean latent. ``amount``: how much of the estimate is replaced over all these steps
    together, 0 to 1; a step's share follows from their number among ``sigmas``, which the sampler visits. Pieces come
    in the style's colours, at a ``color_strength`` below 1 in part and at 0 wholly in those of the estimate.
    """

    reference: Tensor
    sigmas: Tensor
    amount: float = 1.0
    color_strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise ValueError(f"The amount of texture must be between 0 and 1; got {self.amount:g}.")

    def __call__(self, denoised: Tensor, sigma: Tensor) -> Tensor:
        """``denoised (B,C,H,W)`` at scalar ``sigma``, or what replaces it."""
        if self.amount == 0 or not SMALLEST < float(sigma) < LARGEST:
            return denoised
        share = 1 - (1 - self.amount) ** (1 / laid_steps(self.sigmas))
        laid = swap(transport(denoised, self.reference), self.reference)
        laid = transport(laid, denoised, 1 - self.color_strength)
        return denoised + share * (laid - denoised)
