"""What inversion keeps of one image or batch of images: the trajectory and the self-attention features.

A bank has no role: *content* and *style* are what a caller does with it. It never changes once published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import AttentionLayer, LayerKey, LayerSelection, describe
from .schedule import SIGMA_TOLERANCE, find_step, format_sigmas

PRECISIONS: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Trajectory:
    """The way of a latent from clean to noise.

    ``sigmas (N+1,)`` ascending from 0; ``latents (N+1,B,C,H,W)`` fp32 in the model's own units;
    ``residuals (N,B,C,H,W)``, where entry ``i-1`` belongs to the sampling step from ``sigmas[i]`` down.
    """

    sigmas: Tensor
    latents: Tensor
    residuals: Tensor | None = None
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

    def images(self, rows: slice) -> Trajectory:
        """The same trajectory for some images of the batch."""
        residuals = None if self.residuals is None else self.residuals[:, rows].clone()
        return Trajectory(self.sigmas, self.latents[:, rows].clone(), residuals, self.method)

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

    def residuals_down(self, start: int) -> Tensor | None:
        """Residuals in the order in which a way back from step ``start`` uses them, or None if not kept."""
        return None if self.residuals is None else self.residuals[:start].flip(0)


class ModelFingerprint(NamedTuple):
    """What must agree for features of one model to mean something in another."""

    name: str
    prediction: str
    channels: int
    context: int
    layers: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.prediction}, width {self.channels}, context {self.context}, "
            f"{self.layers} self-attentions)"
        )


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


class FeatureBank:
    """Trajectory and features of a batch of ``B`` images; immutable.

    ``get`` returns hidden states as self-attention received them (after ``norm1``, before the projections).
    """

    def __init__(
        self,
        trajectory: Trajectory,
        features: Mapping[tuple[int, LayerKey], Feature],
        layers: tuple[AttentionLayer, ...],
        model: ModelFingerprint,
    ) -> None:
        self.trajectory = trajectory
        self.layers = layers
        self.model = model
        self._features = MappingProxyType(dict(features))

    def get(self, step: int, key: LayerKey, like: Tensor) -> Feature:
        """Feature of one step (1 to N) and layer, with the device and dtype of ``like``."""
        hidden, grid = self._features[step, key]
        return Feature(hidden.to(like), grid)

    def step_at(self, sigma: float) -> int:
        """Step (1 to N) whose features were captured at ``sigma``; ``ValueError`` if there is none."""
        step = find_step(self.trajectory.sigmas, sigma)
        if not step:
            raise ValueError(
                f"The bank holds no features for sigma {sigma:.4g}; it holds "
                f"{format_sigmas(self.trajectory.sigmas[1:].flip(0))}. Sample with the sigmas of Bank Schedule, by "
                "the Fused Sampler or one that stays on them (euler, ddim)."
            )
        return step

    @property
    def bytes(self) -> int:
        """Memory held by features and trajectory."""
        kept = [self.trajectory.latents, *(feature.hidden for feature in self._features.values())]
        if self.trajectory.residuals is not None:
            kept.append(self.trajectory.residuals)
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    @property
    def precision(self) -> str:
        """Name of the features' storage type; ``-`` for a bank without features."""
        for feature in self._features.values():
            kept = feature.hidden.dtype
            return next((name for name, dtype in PRECISIONS.items() if dtype == kept), str(kept))
        return "-"

    def __repr__(self) -> str:
        way = self.trajectory
        return (
            f"FeatureBank({way.batch} x {way.size[0]}x{way.size[1]}, {way.steps} steps, {way.method}, "
            f"{describe(self.layers)}, {self.precision}, {self.bytes / 1e6:.1f} MB)"
        )


class FeatureRecorder:
    """Collects features while a batch is inverted; ``publish`` turns it into banks.

    ``groups`` are the numbers of images, in batch order, that go to one bank each: ``(1, 1)`` for a content
    and a style inverted together. A step that is evaluated several times keeps its last evaluation.
    """

    def __init__(
        self,
        layers: LayerSelection,
        sigmas: Tensor,
        groups: Sequence[int],
        dtype: torch.dtype = torch.float16,
        device: torch.device | None = None,
    ) -> None:
        self.layers = layers
        self.groups = tuple(groups)
        self._sigmas = sigmas.cpu()
        self._dtype = dtype
        self._device = device
        self._features: list[dict[tuple[int, LayerKey], Feature]] = [{} for _ in groups]

    def put(self, sigma: float, key: LayerKey, feature: Feature) -> None:
        """Keep ``feature`` of the whole batch, captured at ``sigma``; where it is if ``device`` is None."""
        step = find_step(self._sigmas, sigma)
        if not step:
            raise ValueError(f"Sigma {sigma:.4g} is not on the inversion schedule {format_sigmas(self._sigmas)}.")
        device = self._device or feature.hidden.device
        for features, hidden in zip(self._features, feature.hidden.detach().split(self.groups), strict=True):
            # A copy even of a tensor that already has this type and device: the network reuses its memory,
            # and a view would keep the other group's images alive.
            features[step, key] = Feature(hidden.to(device, self._dtype, copy=True), feature.grid)

    def publish(self, trajectory: Trajectory, model: ModelFingerprint) -> list[FeatureBank]:
        """One bank for each group; ``ValueError`` if a layer was never seen."""
        banks, first = [], 0
        for count, features in zip(self.groups, self._features, strict=True):
            for step in range(1, trajectory.steps + 1):
                for layer in self.layers:
                    if (step, layer.key) not in features:
                        raise ValueError(
                            f"Layer {layer.key} was not seen at step {step}: another node replaces the attention "
                            "of this model. Invert with the model as it comes from the loader."
                        )
            images = trajectory.images(slice(first, first + count))
            banks.append(FeatureBank(images, features, self.layers.layers, model))
            first += count
        return banks


def estimate_bytes(layers: LayerSelection, steps: int, batch: int, size: tuple[int, int], dtype: torch.dtype) -> int:
    """Memory that the features of ``batch`` images will take, for a latent of ``size (H, W)``."""
    tokens = sum(layer.channels * layer.grid(*size)[0] * layer.grid(*size)[1] for layer in layers)
    return tokens * steps * batch * dtype.itemsize
