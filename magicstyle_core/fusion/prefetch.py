"""Carries the features of the next step to the device while the network works on this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..bank.bank import Fetched, Kept
from ..bank.features import PackedFeature
from ..layers import LayerKey
from ..schedule import SIGMA_TOLERANCE
from .attention import FusionPatch


class Transfer(Protocol):
    """Moves packed features in the background: ``start`` returns at once, ``finish`` gives them once they are there."""

    def start(self, features: Mapping[LayerKey, PackedFeature]) -> Any: ...

    def finish(self, started: Any) -> Mapping[LayerKey, PackedFeature]: ...


class Prefetcher:
    """Features that ``patches`` will read, on the device one step ahead; belongs to one run over ``sigmas``.

    At most two steps of each bank are on the device: the one in use, and the next.
    """

    def __init__(self, patches: Sequence[FusionPatch], sigmas: Sequence[float], transfer: Transfer) -> None:
        self._patches, self._sigmas, self._transfer = patches, tuple(sigmas), transfer
        self._started: dict[Kept, Any] = {}
        self._here: dict[Kept, Mapping[LayerKey, PackedFeature]] = {}

    def at(self, sigma: float) -> Fetched:
        """Features of the evaluation at ``sigma``; sets off those of the sampling step that follows."""
        wanted = self._wanted(sigma)
        self._here = {kept: here for kept, here in self._here.items() if kept in wanted}
        for kept, keys in wanted.items():
            if kept not in self._here:
                started = self._started.pop(kept, None) or self._start(kept, keys)
                self._here[kept] = self._transfer.finish(started)
        following = self._wanted(self._after(sigma))
        self._started = {kept: started for kept, started in self._started.items() if kept in following}
        for kept, keys in following.items():
            if kept not in self._here and kept not in self._started:
                self._started[kept] = self._start(kept, keys)
        return dict(self._here)

    def drop(self) -> None:
        """Let go of everything on the device."""
        self._started.clear()
        self._here.clear()

    def _start(self, kept: Kept, keys: Sequence[LayerKey]) -> Any:
        features = kept.bank.store.at(kept.step)
        return self._transfer.start({key: features[key] for key in keys})

    def _wanted(self, sigma: float) -> dict[Kept, list[LayerKey]]:
        """What the patches read at ``sigma``, but for banks whose features are nowhere."""
        wanted: dict[Kept, list[LayerKey]] = {}
        for patch in self._patches if sigma > 0 else ():
            for name, step in (patch.steps_at(sigma) or {}).items():
                if not patch.read[name].recomputed:
                    keys = wanted.setdefault(Kept(patch.read[name], step), [])
                    keys += [layer.key for layer in patch.layers if layer.key not in keys]
        return wanted

    def _after(self, sigma: float) -> float:
        """The next lower sigma of the run's schedule; 0 at its end."""
        return max((later for later in self._sigmas if later < sigma * (1 - SIGMA_TOLERANCE)), default=0.0)
