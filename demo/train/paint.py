"""Pictures from pure noise under prompts: DDIM with guidance, in batches, without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..network import SIGMAS as ALL_SIGMAS
from ..network import Network, schedule
from ..text.encoder import TextEncoder
from .told import token_rows

CHUNK = 24  # pictures at a time


@torch.no_grad()
def paint(
    network: Network,
    text: TextEncoder,
    prompts: Sequence[str],
    size: int,
    cfg: float = 3.0,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """Pictures (B, 3, size, size) in 0..1. The empty prompt guides away; at `cfg` 1 it is not asked."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(prompts), network.unet.layout.channels, size // 4, size // 4, generator=generator)
    context = text(token_rows(prompts))
    parts = zip(noise.split(CHUNK), context.split(CHUNK), strict=True)
    return torch.cat([network.codec.decode(_sample(network, x, c, cfg, steps)) for x, c in parts])


def _sample(network: Network, noise: Tensor, context: Tensor, cfg: float, steps: int) -> Tensor:
    """Latents (B, C, H, W) of one chunk."""
    sigmas = schedule(steps).flip(0)
    x = noise * (sigmas[0] ** 2 + 1).sqrt()
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        timesteps = (ALL_SIGMAS - sigma).abs().argmin().expand(len(x))
        z = (x / (sigma**2 + 1).sqrt()).contiguous(memory_format=torch.channels_last)
        eps = network.unet(z, timesteps, context=context)
        if cfg != 1.0:
            unprompted = network.unet(z, timesteps)
            eps = unprompted + cfg * (eps - unprompted)
        x = x + (following - sigma) * eps
    return x
