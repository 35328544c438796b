"""What inversion keeps of one image or batch of images: the trajectory and the self-attention features.

A bank has no role: *content* and *style* are what a caller does with it. It never changes once published.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .features import PRECISIONS, Feature, PackedFeature, size_of
from .layers import AttentionLayer, LayerKey, describe
from .schedule import SIGMA_TOLERANCE, find_step, format_sigmas, place_of
from .storage import FeatureStore, LiveStore, MemoryStore, Place

# How features are found between two steps of a bank, and what is read then: steps and their shares, which sum to 1.
Lookup = Literal["nearest", "interpolate"]
Reading = Mapping[int, float]


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
        return size_of(self.latents) + (0 if self.noise is None else size_of(self.noise))

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


class ModelFingerprint(NamedTuple):
    """What must agree for features of one model to mean something in another; ``weights`` tells checkpoints of one
    kind apart."""

    name: str
    prediction: str
    channels: int
    context: int
    layers: int
    weights: str = ""

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.prediction}, width {self.channels}, context {self.context}, "
            f"{self.layers} self-attentions{self.weights and f', weights {self.weights}'})"
        )


class Kept(NamedTuple):
    """The features of one step of one bank."""

    bank: FeatureBank
    step: int


# Features that are at hand beside a bank's own store.
Fetched = Mapping[Kept, Mapping[LayerKey, PackedFeature]]


class FeatureBank:
    """Trajectory and features of a batch of ``B`` images; immutable.

    ``get`` returns hidden states as self-attention received them (after ``norm1``, before the projections).
    ``kept_for`` maps every step (1 to N) that can be fused to the step whose features it reads. ``thumbnail (h,w,3)``,
    uint8, shows the first picture.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        model: ModelFingerprint,
        store: FeatureStore | None = None,
        layers: tuple[AttentionLayer, ...] = (),
        kept_for: Mapping[int, int] = MappingProxyType({}),
        thumbnail: Tensor | None = None,
    ) -> None:
        self.trajectory = trajectory
        self.model = model
        self.store: FeatureStore = MemoryStore({}) if store is None else store
        self.layers = layers
        self.kept_for = MappingProxyType(dict(kept_for))
        self.thumbnail = thumbnail

    def stored(self, step: int, key: LayerKey) -> PackedFeature:
        """Feature of one kept step and layer, as it is stored."""
        return self.store.get(Place(step, key))

    def get(self, step: int, key: LayerKey, like: Tensor) -> Feature:
        """Feature of one kept step and layer, with the device and dtype of ``like``."""
        return self.stored(step, key).unpack(like)

    def step_at(self, sigma: float) -> int:
        """The step of the schedule, 1 to N, whose sigma is the nearest to ``sigma`` > 0 by its logarithm."""
        return round(place_of(self.trajectory.sigmas, sigma))

    def reading_at(self, sigma: float, lookup: Lookup = "nearest") -> Reading:
        """The kept steps to read at ``sigma`` and their shares; none outside of the window in which steps were kept.

        ``"nearest"`` reads one step; ``"interpolate"`` two where ``sigma`` is between two of them. A live bank is
        always where its trajectory was at ``sigma``, and gives that as one step.
        """
        place = place_of(self.trajectory.sigmas, sigma)
        low = int(place)
        if low == place or lookup == "nearest" or isinstance(self.store, LiveStore):
            shares = {round(place): 1.0}
        else:
            shares = {low: low + 1 - place, low + 1: place - low}
        kept: dict[int, float] = {}
        for step, share in shares.items():
            if step in self.kept_for:
                kept[self.kept_for[step]] = kept.get(self.kept_for[step], 0.0) + share
        whole = sum(kept.values())
        return {step: share / whole for step, share in kept.items()}

    @property
    def bytes(self) -> int:
        """Memory or disk space held by features and trajectory."""
        return self.store.bytes + self.trajectory.bytes

    @property
    def precision(self) -> str:
        """Name of the features' number type; ``-`` for a bank without features."""
        kept = self.store.dtype
        return "-" if kept is None else next((name for name, dtype in PRECISIONS.items() if dtype == kept), str(kept))

    def __repr__(self) -> str:
        way = self.trajectory
        return (
            f"FeatureBank({way.batch} x {way.size[0]}x{way.size[1]}, {way.steps} steps, {way.method}, "
            f"{describe(self.layers)}, {self.precision}, {self.bytes / 1e6:.1f} MB, {self.store.storage})"
        )
