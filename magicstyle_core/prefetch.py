"""Carries the features of the next step to the device while the network works on this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from .attention import FusionPatch
from .bank import FeatureBank
from .features import PackedFeature
from .layers import LayerKey
from .schedule import find_step
from .storage import LiveStore

Fetched = Mapping[FeatureBank, Mapping[LayerKey, PackedFeature]]


class Load(NamedTuple):
    """One step of one bank."""

    bank: FeatureBank
    step: int


class Transfer(Protocol):
    """Moves packed features in the background: ``start`` returns at once, ``finish`` gives them once they are there."""

    def start(self, features: Mapping[LayerKey, PackedFeature]) -> Any: ...

    def finish(self, started: Any) -> Mapping[LayerKey, PackedFeature]: ...


class CudaTransfer:
    """Copies on a stream of their own. They overlap with computing only from pinned memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, features: Mapping[LayerKey, PackedFeature]) -> Any:
        with torch.cuda.stream(self._stream):
            moved = {key: feature.to(self._device) for key, feature in features.items()}
            return moved, self._stream.record_event()

    def finish(self, started: Any) -> Mapping[LayerKey, PackedFeature]:
        moved, done = started
        current = torch.cuda.current_stream(self._device)
        current.wait_event(done)
        for feature in moved.values():
            for tensor in feature.tensors:
                tensor.record_stream(current)  # so that its memory is not reused before this stream is done with it
        return moved


class Prefetcher:
    """Features that ``patches`` will read, on the device one step ahead; belongs to one run of a sampler.

    At most two steps of each bank are on the device: the one in use, and the next.
    """

    def __init__(self, patches: Sequence[FusionPatch], transfer: Transfer) -> None:
        self._patches, self._transfer = patches, transfer
        self._started: dict[Load, Any] = {}
        self._here: dict[Load, Mapping[LayerKey, PackedFeature]] = {}

    def at(self, sigma: float) -> Fetched:
        """Features of the evaluation at ``sigma``; sets off those of the sampling step that follows."""
        wanted = self._wanted(sigma)
        self._here = {load: here for load, here in self._here.items() if load in wanted}
        for load, keys in wanted.items():
            if load not in self._here:
                started = self._started.pop(load, None) or self._start(load, keys)
                self._here[load] = self._transfer.finish(started)
        following = self._wanted(self._after(sigma))
        self._started = {load: started for load, started in self._started.items() if load in following}
        for load, keys in following.items():
            if load not in self._here and load not in self._started:
                self._started[load] = self._start(load, keys)
        return {load.bank: here for load, here in self._here.items() if load in wanted}

    def drop(self) -> None:
        """Let go of everything on the device."""
        self._started.clear()
        self._here.clear()

    def _start(self, load: Load, keys: Sequence[LayerKey]) -> Any:
        return self._transfer.start({key: load.bank.stored(load.step, key) for key in keys})

    def _wanted(self, sigma: float) -> dict[Load, list[LayerKey]]:
        """What the patches read at ``sigma``, but for banks whose features are nowhere."""
        wanted: dict[Load, list[LayerKey]] = {}
        for patch in self._patches if sigma > 0 else ():
            banks, steps = patch.banks, patch.steps_at(sigma) or {}
            for role, step in steps.items():
                if not isinstance(banks[role].store, LiveStore):
                    keys = wanted.setdefault(Load(banks[role], step), [])
                    keys += [layer.key for layer in patch.layers if layer.key not in keys]
        return wanted

    def _after(self, sigma: float) -> float:
        """The next lower sigma of the schedule; 0 at its end."""
        for patch in self._patches:
            sigmas = patch.style.trajectory.sigmas
            if step := find_step(sigmas, sigma):
                return float(sigmas[step - 1])
        return 0.0
