"""What a stage of training learns: a network and its loss on a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..codec import PatchCodec
from . import autoencoder, diffusion
from .autoencoder import TinyAutoencoder
from .unet import OWN, DemoUNet, Layout

Codec = PatchCodec | TinyAutoencoder  # images (B, 3, H, W) in 0..1 to latents of about unit variance, and back


class Work(Protocol):
    """One batch, prepared; threads take parts of it."""

    def part(self, index: int, count: int) -> Work:
        """Every `count`-th image, from `index` on."""
        ...


class Objective(Protocol):
    """A network to be trained, and how."""

    def network(self) -> nn.Module:
        """A new network; `OUTER` of its class names the layers that Adam trains."""
        ...

    def work(self, images: Tensor, generator: torch.Generator) -> Work:
        """`images` (B, 3, H, W) in 0..1 with the random numbers that go with them; `generator` lives on the CPU."""
        ...

    def losses(self, network: nn.Module, work: Work) -> tuple[Tensor, Tensor]:
        """The loss that is trained on, and the one for the record."""
        ...


@dataclass(frozen=True, eq=False)
class Denoising:
    """Predict the noise in the latents of `codec`."""

    codec: Codec
    layout: Layout = OWN

    def network(self) -> DemoUNet:
        return DemoUNet(self.layout)

    def work(self, images: Tensor, generator: torch.Generator) -> diffusion.Task:
        return diffusion.task(self.codec.encode(images).float(), generator)

    def losses(self, network: nn.Module, work: diffusion.Task) -> tuple[Tensor, Tensor]:
        return diffusion.losses(network, work)


class Noised(NamedTuple):
    """Pictures (B, 3, H, W) and the noise (B, 4, H/8, W/8) that their latents get."""

    images: Tensor
    noise: Tensor

    def part(self, index: int, count: int) -> Noised:
        """Every `count`-th image, from `index` on."""
        return Noised(*(tensor[index::count].contiguous(memory_format=torch.channels_last) for tensor in self))


class Autoencoding:
    """Give pictures back from their latents."""

    def network(self) -> TinyAutoencoder:
        return TinyAutoencoder()

    def work(self, images: Tensor, generator: torch.Generator) -> Noised:
        size = (len(images), autoencoder.CHANNELS, images.shape[2] // 8, images.shape[3] // 8)
        return Noised(images, torch.randn(size, generator=generator).to(images.device))

    def losses(self, network: nn.Module, work: Noised) -> tuple[Tensor, Tensor]:
        return autoencoder.losses(network, *work)
