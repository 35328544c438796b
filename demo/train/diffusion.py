"""The noise schedule of Stable Diffusion and the training loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 1000
Predictor = Callable[[Tensor, Tensor], Tensor]  # (noisy latents (B, C, H, W), timesteps (B,)) -> noise (B, C, H, W)


def signal_shares() -> Tensor:
    """Product of 1 - beta up to each step, for scaled-linear betas 0.00085 .. 0.012: (1000,)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, 0).float()


SIGNAL = signal_shares()
HIGHEST_WEIGHT = 10.0


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,) spread evenly over 0..999 with a random offset: a calmer loss than free draws."""
    phase = torch.rand(1, generator=generator)
    return (((phase + torch.arange(count) / count) % 1.0) * STEPS).long()


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Latents (B, C, H, W) carried to `timesteps` (B,) in VP form."""
    signal = SIGNAL.to(latents.device)[timesteps][:, None, None, None]
    return signal.sqrt() * latents + (1.0 - signal).sqrt() * noise


class Task(NamedTuple):
    """What the network learns from: noisy latents (B, C, H, W), timesteps (B,), the noise in them."""

    noisy: Tensor
    timesteps: Tensor
    noise: Tensor

    def part(self, index: int, count: int) -> Task:
        """Every `count`-th image, from `index` on."""
        noisy, timesteps, noise = (tensor[index::count] for tensor in self)
        return Task(noisy.contiguous(memory_format=torch.channels_last), timesteps, noise)


def task(latents: Tensor, generator: torch.Generator) -> Task:
    """Latents with random noise at stratified timesteps, all on the latents' device."""
    timesteps = stratified_timesteps(len(latents), generator).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    return Task(add_noise(latents, noise, timesteps), timesteps, noise)


def losses(predict: Predictor, work: Task) -> tuple[Tensor, Tensor]:
    """Mean squared error of the predicted noise: weighted for training, and plain for the record.

    Where little signal is left, a small error in the noise is a large one in the picture: layout and colour would
    be learned last. The weight 1 / sqrt(signal share), at most `HIGHEST_WEIGHT`, evens that out in part.
    """
    errors = (predict(work.noisy, work.timesteps) - work.noise).square().mean((1, 2, 3))
    weights = SIGNAL.to(errors.device)[work.timesteps].rsqrt().clamp(max=HIGHEST_WEIGHT)
    return (errors * weights).mean(), errors.detach().mean()
