"""What is kept of a self-attention input: the numbers, how they are packed, and the grid that the tokens lie on."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# int8 keeps a scale for every token. Measured errors of the attention output are in docs/memory.md.
PRECISIONS: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32, "int8": torch.int8}
INT8_LARGEST = 127


class Feature(NamedTuple):
    """Hidden states ``(B,T,C)`` of one layer at one step, and the grid ``(h, w)`` that its tokens lie on."""

    hidden: Tensor
    grid: tuple[int, int]

    def on(self, grid: tuple[int, int]) -> Tensor:
        """Hidden states resampled to another token grid, bilinearly: ``(B,T,C) -> (B,h*w,C)``."""
        if grid == self.grid:
            return self.hidden
        image = self.hidden.transpose(1, 2).unflatten(2, self.grid).float()  # (B,C,h,w)
        image = F.interpolate(image, size=grid, mode="bilinear", antialias=True)
        return image.flatten(2).transpose(1, 2).to(self.hidden)


class PackedFeature(NamedTuple):
    """A feature as it is stored: ``values (B,T,C)``, and for int8 what to multiply them by, ``scale (B,T,1)`` fp32."""

    values: Tensor
    scale: Tensor | None
    grid: tuple[int, int]

    @classmethod
    def pack(cls, feature: Feature, dtype: torch.dtype) -> PackedFeature:
        """``feature`` in the number type ``dtype``, in memory of its own.

        A copy even of a tensor that already has this type: the network reuses its memory, and a view would keep the
        other images of the batch alive.
        """
        hidden = feature.hidden.detach()
        if dtype != torch.int8:
            return cls(hidden.to(dtype, copy=True, memory_format=torch.contiguous_format), None, feature.grid)
        wide = hidden.float()
        scale = wide.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / INT8_LARGEST
        return cls((wide / scale).round().to(torch.int8), scale, feature.grid)

    def unpack(self, like: Tensor) -> Feature:
        """The feature with the device and dtype of ``like``."""
        if self.scale is None:
            return Feature(self.values.to(like), self.grid)
        values, scale = self.values.to(like.device), self.scale.to(like.device)
        return Feature((values * scale).to(like.dtype), self.grid)

    def to(self, device: torch.device) -> PackedFeature:
        """The same on ``device``; from pinned memory to CUDA the copy runs beside what follows on the CPU."""
        scale = None if self.scale is None else self.scale.to(device, non_blocking=True)
        return PackedFeature(self.values.to(device, non_blocking=True), scale, self.grid)

    @property
    def tensors(self) -> list[Tensor]:
        """What takes memory."""
        return [self.values] if self.scale is None else [self.values, self.scale]
