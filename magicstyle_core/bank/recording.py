"""Which features of an inversion are kept, and the recorder that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..layers import LayerKey, LayerSelection
from ..schedule import SigmaWindow, find_step, format_sigmas
from .bank import FeatureBank, ModelFingerprint
from .features import Feature, PackedFeature
from .storage import FeatureWriter, Layout, MemoryWriter, Place, layout_bytes, layouts_of
from .trajectory import Trajectory

Thumbnail = Callable[[Trajectory], Tensor | None]


@dataclass(frozen=True)
class CapturePlan:
    """What to keep of an inversion along ascending ``sigmas (N+1,)``.

    Of the steps inside ``window`` every ``every``-th is kept, counted from the noisiest; the others use the kept one
    that is nearest in the logarithm of sigma. Outside of the window nothing is kept, and nothing will be fused.
    """

    layers: LayerSelection
    sigmas: Tensor
    dtype: torch.dtype = torch.float16
    every: int = 1
    window: SigmaWindow = SigmaWindow()

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be 1 or more: keep each step, each second one, ...; got {self.every}.")

    @cached_property
    def kept_for(self) -> Mapping[int, int]:
        """For every step (1 to N) inside the window, the step whose features it reads."""
        sigmas = self.sigmas.tolist()
        inside = [step for step in range(1, len(sigmas)) if sigmas[step] in self.window and len(self.layers)]
        kept = inside[:: -self.every]
        logs = self.sigmas.log().tolist()
        return {step: min(kept, key=lambda other: abs(logs[other] - logs[step])) for step in inside}

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps whose features are kept, ascending."""
        return tuple(sorted(set(self.kept_for.values())))

    def layouts(self, batch: int, size: tuple[int, int]) -> dict[Place, Layout]:
        """Shapes of all features of ``batch`` images with latents of ``size (H, W)``, in the order of capture."""
        return layouts_of(self.layers, self.kept, batch, size, self.dtype)

    def bytes(self, batch: int, size: tuple[int, int]) -> int:
        """What the features of ``batch`` images will take."""
        return layout_bytes(self.layouts(batch, size))


class FeatureRecorder:
    """Collects features while a batch is inverted; ``publish`` turns it into banks.

    ``groups`` are the numbers of images, in batch order, that go to one bank each: ``(1, 1)`` for a content and a
    style inverted together. ``new_writer(group)`` says where the features of a group go; with None nothing of it is
    kept. A step that is evaluated several times keeps its last evaluation. ``close`` drops what was not published.
    """

    def __init__(
        self,
        plan: CapturePlan,
        groups: Sequence[int],
        new_writer: Callable[[int], FeatureWriter | None] = lambda group: MemoryWriter(),
    ) -> None:
        self.plan = plan
        self.groups = tuple(groups)
        self._steps = frozenset(plan.kept)
        self._seen: set[Place] = set()
        self._writers: list[FeatureWriter | None] = []
        try:
            for group in range(len(groups)):
                self._writers.append(new_writer(group))
        except BaseException:
            self.close()
            raise

    def wants(self, sigma: float) -> int | None:
        """The step at ``sigma``, or None if its features are not kept; ``ValueError`` off the schedule."""
        step = find_step(self.plan.sigmas, sigma)
        if not step:
            raise ValueError(f"Sigma {sigma:.4g} is not on the inversion schedule {format_sigmas(self.plan.sigmas)}.")
        return step if step in self._steps else None

    def put(self, sigma: float, key: LayerKey, feature: Feature) -> None:
        """Keep ``feature`` of the whole batch, captured at ``sigma``, if the plan wants it."""
        step = self.wants(sigma)
        if step is None:
            return
        place = Place(step, key)
        for writer, hidden in zip(self._writers, feature.hidden.split(self.groups), strict=True):
            if writer is not None and writer.keeps:
                writer.put(place, PackedFeature.pack(Feature(hidden, feature.grid), self.plan.dtype))
        self._seen.add(place)

    def publish(
        self, trajectory: Trajectory, model: ModelFingerprint, thumbnail: Thumbnail = lambda images: None
    ) -> list[FeatureBank]:
        """One bank for each group; ``ValueError`` if a layer was never seen. ``thumbnail`` draws its picture."""
        for step in self.plan.kept:
            for layer in self.plan.layers:
                if Place(step, layer.key) not in self._seen:
                    raise ValueError(
                        f"Layer {layer.key} was not seen at step {step}: another node replaces the attention of this "
                        "model, or leaves out evaluations (EasyCache). Invert with the model as it comes from the "
                        "loader."
                    )
        banks, first = [], 0
        for count, writer in zip(self.groups, self._writers, strict=True):
            images = trajectory.images(slice(first, first + count))
            store, layers, kept_for = None, (), {}
            if writer is not None:
                store, layers, kept_for = writer.publish(), self.plan.layers.layers, self.plan.kept_for
            banks.append(FeatureBank(images, model, store, layers, kept_for, thumbnail(images)))
            first += count
        self._writers = [None] * len(self.groups)  # their banks own the features from here on
        return banks

    def close(self) -> None:
        """Drop what was not published."""
        for writer in self._writers:
            if writer is not None:
                writer.discard()
        self._writers = [None] * len(self.groups)
