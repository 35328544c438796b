"""An autoencoder in TAESD's shape: what a checkpoint of Stable Diffusion's layout carries as its VAE.

Pictures become 4 channels at an eighth of their size, and Stable Diffusion's loader cannot take more, so it must be
trained where the patch codec of the own layout is merely fitted. Names of modules are those that the host reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 4
WIDTH = 64
SD_FACTOR = 0.18215  # the host multiplies SD 1.x latents by this before the UNet sees them
NOISE = 0.05  # added to latents in training, so that the decoder bears what the sampler leaves
CALM = 0.02  # weight of keeping latents near zero mean and unit variance


def _conv(channels: int, out_channels: int, **options) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1, **options)


class Clamp(nn.Module):
    """Latents bent softly into -3..3, so that none leaves the decoder's range."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3.0) * 3.0


class Block(nn.Module):
    """Three convolutions beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = [_conv(3, WIDTH), Block()]
    for _ in range(3):
        layers += [_conv(WIDTH, WIDTH, stride=2, bias=False), Block(), Block(), Block()]
    return nn.Sequential(*layers, _conv(WIDTH, CHANNELS))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), _conv(CHANNELS, WIDTH), nn.ReLU()]
    for _ in range(3):
        layers += [Block(), Block(), Block(), nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]
    return nn.Sequential(*layers, Block(), _conv(WIDTH, 3))


class TinyAutoencoder(nn.Module):
    """Pictures (B, 3, H, W) in 0..1 to latents (B, 4, H/8, W/8) and back; H and W multiples of 8.

    `encode` and `decode` speak the latents that the UNet sees, of zero mean and unit variance over all once
    `normalize` has been called.
    """

    OUTER = ("taesd_encoder.0.", "taesd_encoder.14.", "taesd_decoder.1.", "taesd_decoder.19.")

    def __init__(self) -> None:
        super().__init__()
        self.taesd_encoder, self.taesd_decoder = _encoder(), _decoder()
        self.register_buffer("vae_scale", torch.tensor(SD_FACTOR))
        self.register_buffer("vae_shift", torch.tensor(0.0))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents as the UNet sees them."""
        return (self.taesd_encoder(images) / self.vae_scale + self.vae_shift) * SD_FACTOR

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of such latents, clamped to 0..1."""
        return self.taesd_decoder((latents / SD_FACTOR - self.vae_shift) * self.vae_scale).clamp(0.0, 1.0)

    @torch.no_grad()
    def normalize(self, images: Tensor) -> None:
        """Choose scale and shift so that the latents of `images` have zero mean and unit variance over all."""
        latents = self.taesd_encoder(images)
        self.vae_scale.copy_(SD_FACTOR * latents.std())
        self.vae_shift.copy_(-latents.mean() / self.vae_scale)


def losses(model: TinyAutoencoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """For training: differences of colour, of edges at three scales and of spectra, and a pull on the latents; for the
    record: the mean squared error. `noise` (B, 4, H/8, W/8) is standard normal.
    """
    latents = model.taesd_encoder(images)
    back = model.taesd_decoder(latents + NOISE * noise).float()
    spread = latents.float().transpose(0, 1).flatten(1)
    pull = spread.mean(1).square().mean() + (spread.std(1) - 1.0).square().mean()
    trained = F.l1_loss(back, images) + _edges(back, images) + 0.02 * _spectrum(back, images) + CALM * pull
    return trained, F.mse_loss(back.detach(), images)


def _edges(a: Tensor, b: Tensor, scales: int = 3) -> Tensor:
    """Mean difference of neighbouring pixels' differences, over an image pyramid."""
    total = a.new_zeros(())
    for level in range(scales):
        if level:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        for axis in (2, 3):
            total = total + (a.diff(dim=axis) - b.diff(dim=axis)).abs().mean()
    return total / scales


def _spectrum(a: Tensor, b: Tensor) -> Tensor:
    """Mean difference of the amplitudes of all frequencies: grain of the right strength, wherever it lies."""
    return (torch.fft.rfft2(a, norm="ortho").abs() - torch.fft.rfft2(b, norm="ortho").abs()).abs().mean()
