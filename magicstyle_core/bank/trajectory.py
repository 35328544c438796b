"""The way of a latent from clean to noise."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

from ..schedule import SIGMA_TOLERANCE, find_step, format_sigmas


@dataclass(frozen=True)
class Trajectory:
    """The way of a latent from clean to noise.

    ``sigmas (N+1,)`` ascending from 0; ``latents (N+1,B,C,H,W)`` fp32 in the model's own units;
    ``noise (B,C,H,W)`` is what the network predicted at the last latent, kept by the method ``exact`` only.
    """

    sigmas: Tensor
    latents: Tensor
    noise: Tensor | None = None
    method: str = "ddim"

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def batch(self) -> int:
        return self.latents.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Latent size ``(H, W)``."""
        return self.latents.shape[3], self.latents.shape[4]

    def at(self, sigma: float) -> Tensor:
        """The latents ``(B,C,H,W)`` at any sigma: steps go straight, so between two of them on the line."""
        up = self.sigmas.tolist()
        above = min(max(bisect_left(up, sigma), 1), self.steps)
        share = min((sigma - up[above - 1]) / (up[above] - up[above - 1]), 1.0)
        return torch.lerp(self.latents[above - 1], self.latents[above], share)

    def images(self, rows: slice) -> Trajectory:
        """The same trajectory for some images of the batch."""
        noise = None if self.noise is None else self.noise[rows].clone()
        return Trajectory(self.sigmas, self.latents[:, rows].clone(), noise, self.method)

    def start_of(self, sigmas: Tensor, role: str = "content") -> int:
        """The step at which a descending schedule begins; ``role`` names the bank in the error.

        Raises ``ValueError`` unless ``sigmas`` are the bank's own, flipped, from some step down to 0.
        """
        start = find_step(self.sigmas, float(sigmas[0])) or 0
        own = self.sigmas[: start + 1].flip(0)
        if start == 0 or len(own) != len(sigmas) or not torch.allclose(own, sigmas.to(own), rtol=SIGMA_TOLERANCE):
            raise ValueError(
                f"The {role} bank was captured on another schedule than this one. "
                f"Bank: {format_sigmas(self.sigmas.flip(0))}. Sampling: {format_sigmas(sigmas)}. "
                "Invert with the same steps and scheduler, and take sigmas from Bank Schedule."
            )
        return start

    @property
    def bytes(self) -> int:
        """Memory of latents and noise."""
        return self.latents.nbytes + (0 if self.noise is None else self.noise.nbytes)

    def residuals_down(self, start: int) -> Tensor | None:
        """What each sampling step misses on a way back from step ``start``, in the order in which steps run:
        ``(start,B,C,H,W)``, or None if the noise was not kept.

        ``r_i = x_{i-1} - (x_i + (sigma_{i-1} - sigma_i) * eps_i)``. They need no memory of their own: the step up from
        ``x_i`` went along ``eps_i``, so that the next latent gives it.
        """
        if self.noise is None:
            return None
        up, gaps = self.latents.diff(dim=0), self.sigmas.to(self.latents).diff().view(-1, 1, 1, 1, 1)
        noises = torch.cat([up[1:] / gaps[1:], self.noise[None]])
        return (gaps * noises - up)[:start].flip(0)
