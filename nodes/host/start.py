"""What a run begins with, against what the banks on its model know of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from torch import Tensor

from ...magicstyle_core.bank.bank import FeatureBank
from ...magicstyle_core.fusion.attention import FusionPatch
from ...magicstyle_core.fusion.base import CONTENT

log = logging.getLogger(__name__)

SAME = 0.9  # cosine of two latents that are one up to rounding, or to a precision
OTHER = 0.25  # demo model: stylized or blurred portraits .28 to .82, crops and other portraits -.16 to .22 (12 people)
ADDED = (
    "The portrait's noise from an inversion goes into a sampler that adds noise of its own. Set add_noise to disable (or "
    "connect Disable Noise): the inversion's noise is all that sampling starts from."
)
MASKED = (
    "The portrait's noise from an inversion has a noise mask: outside of it the noise itself would stay. Remove Set Latent "
    "Noise Mask; to change a part of the portrait, lay the result over it with Image Composite Masked."
)
FOREIGN = (
    "What is sampled does not look like the portrait of content_bank (likeness %.2f): of another picture, or of a part, "
    "the portrait will show through. Invert this picture, or leave content_bank of FFA unconnected (for detailers and tiles)."
)


def check(patches: Iterable[FusionPatch], latent: Tensor, noise: Tensor, mask: Tensor | None) -> None:
    """``ValueError`` if the noise of a content is not sampled as it is; a word in the log if ``latent (B,C,H,W)``, in the
    model's units, is of another picture than the content's."""
    contents = dict.fromkeys(patch.read[CONTENT] for patch in patches if CONTENT in patch.read)
    for bank in contents:
        if latent.shape[1:] == bank.trajectory.latents.shape[2:]:
            _check_against(bank, latent, bool(noise.any()), mask is not None)


def _check_against(bank: FeatureBank, latent: Tensor, adds_noise: bool, masked: bool) -> None:
    way = bank.trajectory.latents
    if len(latent) not in (1, way.shape[1]):
        return  # refused later, by name
    if likeness(latent, way[-1]) > max(SAME, likeness(latent, way[0])):
        if adds_noise:
            raise ValueError(ADDED)
        if masked:
            raise ValueError(MASKED)
    elif _varies(latent):
        alike = max(likeness(_centred(latent), _centred(step)) for step in way)
        if alike < OTHER:
            log.warning(FOREIGN, alike)


def was_added_to(x: Tensor, noise: Tensor, sigma: float) -> bool:
    """Whether ``x (B,C,H,W)`` is ``noise`` and as much again, of deviation ``sigma``, that has nothing to do with it."""
    x, noise = (latent.double().cpu().flatten(1) for latent in (x, noise))
    share = (x * noise).sum(1) / noise.square().sum(1).clamp_min(1e-30)
    added = (x - noise).square().mean(1).sqrt() / sigma
    return bool(((share - 1).abs() < 0.3).all() and ((added - 1).abs() < 0.15).all())


def likeness(a: Tensor, b: Tensor) -> float:
    """Cosine of latents ``(B,C,H,W)``, the least of a batch."""
    a, b = a.float().cpu().flatten(1), b.float().cpu().flatten(1)
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-30)).min())


def _centred(latent: Tensor) -> Tensor:
    return latent - latent.mean((2, 3), keepdim=True)


def _varies(latent: Tensor) -> bool:
    return bool(latent.amax() != latent.amin())
