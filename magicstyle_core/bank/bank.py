"""A bank: what inversion keeps of one image or batch of images.

A bank has no role: *content* and *style* are what a caller does with it. It never changes once published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from ..layers import AttentionLayer, describe
from ..schedule import nearest_step
from .features import PRECISIONS
from .storage import FeatureStore, MemoryStore, RecomputedStore, StepFeatures
from .trajectory import Trajectory


@dataclass(frozen=True)
class ModelFingerprint:
    """What must agree for features of one model to mean something in another; ``weights`` tells checkpoints of one
    kind apart.

    Not compared: ``precision``, what the weights were kept as, of which other weights may come; and ``patches``, what
    was put on them (LoRA, merges), which is often meant.
    """

    name: str
    prediction: str
    channels: int
    context: int
    layers: int
    weights: str = ""
    precision: str = field(default="", compare=False)
    patches: str = field(default="", compare=False)

    def __str__(self) -> str:
        more = (("weights", self.weights), ("as", self.precision), ("with patches", self.patches))
        return (
            f"{self.name} ({self.prediction}, width {self.channels}, context {self.context}, "
            f"{self.layers} self-attentions{''.join(f', {what} {text}' for what, text in more if text)})"
        )


class FeatureBank:
    """Trajectory and features of a batch of ``B`` images; immutable.

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

    @property
    def recomputed(self) -> bool:
        """Whether features are kept nowhere, but computed again beside the running image."""
        return isinstance(self.store, RecomputedStore)

    def step_at(self, sigma: float) -> int:
        """The step of the schedule, 1 to N, whose sigma is the nearest to ``sigma`` > 0 by its logarithm."""
        return nearest_step(self.trajectory.sigmas, sigma)

    def kept_at(self, sigma: float) -> int | None:
        """The kept step to read at ``sigma``; None outside of the window in which steps were kept."""
        return self.kept_for.get(self.step_at(sigma))

    @property
    def bytes(self) -> int:
        """Memory or disk space held by features and trajectory."""
        return self.store.bytes + self.trajectory.bytes

    @property
    def precision(self) -> str:
        """Name of the features' number type; ``-`` for a bank without features."""
        names = {None: "-"} | {dtype: name for name, dtype in PRECISIONS.items()}
        return names.get(self.store.dtype, str(self.store.dtype).removeprefix("torch."))

    def __repr__(self) -> str:
        way = self.trajectory
        return (
            f"FeatureBank({way.batch} x {way.size[0]}x{way.size[1]}, {way.steps} steps, {way.method}, "
            f"{describe(self.layers)}, {self.precision}, {self.bytes / 1e6:.1f} MB, {self.store.storage})"
        )


class Kept(NamedTuple):
    """The features of one step of one bank."""

    bank: FeatureBank
    step: int


# Features that are at hand beside a bank's own store.
Fetched = Mapping[Kept, StepFeatures]
