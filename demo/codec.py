"""Linear patch codec: 4x4 pixel patches to 16 whitened principal components and back.

It plays the autoencoder's part for the demo model: latents are four times smaller than the image and have
about unit variance per channel. Being linear, it needs no training beyond a covariance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 4  # pixels per latent cell and side
PATCH_VALUES = 3 * PATCH * PATCH  # numbers in one RGB patch


@dataclass(frozen=True, eq=False)
class PatchCodec:
    """Affine map between RGB patches (48 numbers in -1..1) and latent vectors.

    mean: (48,) average patch; basis: (48, K) orthonormal columns; scale: (K,) standard deviations.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        channels = self.scale.numel()
        expected = ((PATCH_VALUES,), (PATCH_VALUES, channels), (channels,))
        shapes = tuple(tuple(t.shape) for t in (self.mean, self.basis, self.scale))
        if shapes != expected or channels == 0:
            raise ValueError(f"A patch codec needs mean (48,), basis (48, K) and scale (K,); got {shapes}.")

    @property
    def channels(self) -> int:
        """Number of latent channels K."""
        return self.scale.numel()

    @classmethod
    def fit(cls, images: Tensor, channels: int = 16) -> PatchCodec:
        """Principal components of all patches of `images` (B, 3, H, W) in 0..1, strongest first."""
        if not 1 <= channels <= PATCH_VALUES:
            raise ValueError(f"A 4x4 RGB patch has {PATCH_VALUES} components; asked for {channels}.")
        patches = _to_patches(images).reshape(-1, PATCH_VALUES).double()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        basis = vectors.flip(1)[:, :channels]
        largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
        basis = basis * torch.where(largest < 0, -1.0, 1.0)  # the sign of an eigenvector is arbitrary: fix it
        scale = values.flip(0)[:channels].clamp(min=1e-8).sqrt()
        return cls(mean.float(), basis.float().contiguous(), scale.float())

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0..1 to latents (B, K, H/4, W/4). H and W must be multiples of 4."""
        patches = _to_patches(images)  # (B, H/4, W/4, 48)
        latents = (patches - self.mean.to(patches)) @ (self.basis / self.scale).to(patches)
        return latents.permute(0, 3, 1, 2).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, K, h, w) to images (B, 3, 4h, 4w), clamped to 0..1."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"Expected latents (B, {self.channels}, h, w); got {tuple(latents.shape)}.")
        cells = latents.permute(0, 2, 3, 1)
        patches = cells @ (self.basis * self.scale).T.to(latents) + self.mean.to(latents)
        images = F.pixel_shuffle(patches.permute(0, 3, 1, 2), PATCH)
        return (images * 0.5 + 0.5).clamp(0.0, 1.0)

    def rgb_factors(self) -> tuple[list[list[float]], list[float]]:
        """Rough colour of a latent cell for previews: K rows of RGB weights, and RGB bias, in -1..1 units."""
        decode = (self.basis * self.scale).reshape(3, PATCH * PATCH, self.channels).mean(1)  # (3, K)
        bias = self.mean.reshape(3, PATCH * PATCH).mean(1)
        return decode.T.tolist(), bias.tolist()

    def state(self) -> dict[str, Tensor]:
        """Tensors by name, for a safetensors file."""
        return {"mean": self.mean, "basis": self.basis, "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> PatchCodec:
        """The inverse of `state`."""
        missing = {"mean", "basis", "scale"} - set(state)
        if missing:
            raise ValueError(f"Not a patch codec: missing {', '.join(sorted(missing))}.")
        return cls(state["mean"].float(), state["basis"].float(), state["scale"].float())


def _to_patches(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0..1 to patches (B, H/4, W/4, 48) in -1..1, colour major."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % PATCH or images.shape[3] % PATCH:
        raise ValueError(
            f"Expected images (B, 3, H, W) with H and W multiples of {PATCH}; got {tuple(images.shape)}. "
            "Crop or resize the picture."
        )
    return F.pixel_unshuffle(images * 2.0 - 1.0, PATCH).permute(0, 2, 3, 1)
