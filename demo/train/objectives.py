"""What a stage of training learns: a network and its loss on a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from . import autoencoder, diffusion
from .autoencoder import TinyAutoencoder
from .codecs import Codec
from .painter import Painter
from .told import Told
from .unet import OWN, DemoUNet, Layout


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

    def work(self, batch: Any, generator: torch.Generator) -> Work:
        """A batch of the source with the random numbers that go with it; `generator` lives on the CPU.

        Of most sources a batch is images (B, 3, H, W) in 0..1.
        """
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


class Prompted(NamedTuple):
    """A task with the tokens (B, L) of the prompts."""

    task: diffusion.Task
    tokens: Tensor

    def part(self, index: int, count: int) -> Prompted:
        """Every `count`-th image, from `index` on."""
        return Prompted(self.task.part(index, count), self.tokens[index::count])


@dataclass(frozen=True, eq=False)
class Painting:
    """Predict the noise in the latents of `codec`, knowing the prompt."""

    codec: Codec
    layout: Layout = OWN

    def network(self) -> Painter:
        return Painter(self.layout)

    def work(self, batch: Told, generator: torch.Generator) -> Prompted:
        return Prompted(diffusion.task(self.codec.encode(batch.images).float(), generator), batch.tokens)

    def losses(self, network: nn.Module, work: Prompted) -> tuple[Tensor, Tensor]:
        return diffusion.losses(lambda noisy, timesteps: network(noisy, timesteps, work.tokens), work.task)


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
