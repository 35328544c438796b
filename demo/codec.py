"""Linear patch codec: 4x4 pixel patches to 16 whitened principal components, and back from a cell and its neighbours.

It plays the autoencoder's part for the demo model: latents are four times smaller than the image and have
about unit variance per channel. Being linear, it needs no training beyond covariances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 4  # pixels per latent cell and side
PATCH_VALUES = 3 * PATCH * PATCH  # numbers in one RGB patch
REACH = 3  # cells on a side that a patch is decoded from


@dataclass(frozen=True, eq=False)
class PatchCodec:
    """Affine maps between RGB patches (48 numbers in -1..1) and latent vectors.

    mean: (48,) average patch; basis: (48, K) orthonormal columns; scale: (K,) standard deviations. These encode.
    kernel: (48, K, 3, 3) and bias: (48,) decode the patch in the middle of 3x3 cells.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor
    kernel: Tensor
    bias: Tensor

    def __post_init__(self) -> None:
        channels, values = self.scale.numel(), PATCH_VALUES
        expected = ((values,), (values, channels), (channels,), (values, channels, REACH, REACH), (values,))
        shapes = tuple(tuple(t.shape) for t in (self.mean, self.basis, self.scale, self.kernel, self.bias))
        if shapes != expected or channels == 0:
            raise ValueError(
                "A patch codec needs mean (48,), basis (48, K), scale (K,), kernel (48, K, 3, 3) and bias (48,);"
                f" got {shapes}. Give a weights file of the demo model as it came."
            )

    @classmethod
    def plain(cls, mean: Tensor, basis: Tensor, scale: Tensor) -> PatchCodec:
        """The codec that decodes every patch from its own cell alone."""
        return cls(mean, basis, scale, F.pad((basis * scale)[:, :, None, None], (1, 1, 1, 1)), mean)

    @property
    def channels(self) -> int:
        """Number of latent channels K."""
        return self.scale.numel()

    @classmethod
    def fit(cls, images: Tensor, channels: int = 16) -> PatchCodec:
        """Principal components of all patches of `images` (B, 3, H, W) in 0..1, strongest first; it decodes plainly."""
        if not 1 <= channels <= PATCH_VALUES:
            raise ValueError(f"A 4x4 RGB patch has {PATCH_VALUES} components; asked for {channels}.")
        patches = to_patches(images).reshape(-1, PATCH_VALUES).double()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        basis = vectors.flip(1)[:, :channels]
        largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
        basis = basis * torch.where(largest < 0, -1.0, 1.0)  # the sign of an eigenvector is arbitrary: fix it
        scale = values.flip(0)[:channels].clamp(min=1e-8).sqrt()
        return cls.plain(mean.float(), basis.float().contiguous(), scale.float())

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0..1 to latents (B, K, H/4, W/4). H and W must be multiples of 4."""
        patches = to_patches(images)  # (B, H/4, W/4, 48)
        latents = (patches - self.mean.to(patches)) @ (self.basis / self.scale).to(patches)
        return latents.permute(0, 3, 1, 2).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, K, h, w) to images (B, 3, 4h, 4w), clamped to 0..1."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"Expected latents (B, {self.channels}, h, w); got {tuple(latents.shape)}.")
        patches = self.kernel.to(latents).flatten(1) @ neighbourhoods(latents) + self.bias.to(latents)[:, None]
        images = F.pixel_shuffle(patches.unflatten(2, latents.shape[2:]), PATCH)
        return (images * 0.5 + 0.5).clamp(0.0, 1.0)

    def rgb_factors(self) -> tuple[list[list[float]], list[float]]:
        """Rough colour of a latent cell for previews: K rows of RGB weights, and RGB bias, in -1..1 units."""
        decode = (self.basis * self.scale).reshape(3, PATCH * PATCH, self.channels).mean(1)  # (3, K)
        bias = self.mean.reshape(3, PATCH * PATCH).mean(1)
        return decode.T.tolist(), bias.tolist()

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, for a safetensors file."""
        return {name: getattr(self, name) for name in ("mean", "basis", "scale", "kernel", "bias")}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> PatchCodec:
        """The inverse of `state`; a state without kernel and bias, as older files have it, decodes plainly."""
        encoder, decoder = ("mean", "basis", "scale"), ("kernel", "bias")
        missing = {*encoder, *(decoder if "kernel" in state else ())} - set(state)
        if missing:
            raise ValueError(
                f"Not a patch codec: missing {', '.join(sorted(missing))}. Give a weights file of the demo model."
            )
        if "kernel" not in state:
            return cls.plain(*(state[name].float() for name in encoder))
        return cls(*(state[name].float() for name in encoder + decoder))


def neighbourhoods(latents: Tensor) -> Tensor:
    """Every cell of latents (B, K, h, w) with its neighbours: (B, 9 K, h w); outside, the outermost cells go on."""
    return F.unfold(F.pad(latents, (1, 1, 1, 1), mode="replicate"), REACH)


def to_patches(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0..1 to patches (B, H/4, W/4, 48) in -1..1, colour major."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % PATCH or images.shape[3] % PATCH:
        raise ValueError(
            f"Expected images (B, 3, H, W) with H and W multiples of {PATCH}; got {tuple(images.shape)}. "
            "Crop or resize the picture."
        )
    return F.pixel_unshuffle(images * 2.0 - 1.0, PATCH).permute(0, 2, 3, 1)
