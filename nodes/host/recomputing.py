"""Features of banks that keep none: their pictures are evaluated again beside the running image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import comfy.sampler_helpers
import comfy.samplers

from ...magicstyle_core.bank.bank import FeatureBank, Fetched, Kept
from ...magicstyle_core.bank.features import PackedFeature
from ...magicstyle_core.bank.storage import RecomputedStore
from ...magicstyle_core.fusion.attention import FusionPatch, LendingPatch
from ...magicstyle_core.layers import AttentionLayer, LayerKey, LayerSelection, describe
from . import host
from .attention import Hook


class Recomputation:
    """Evaluates the pictures of recomputed banks at the running step, where their trajectories were then.

    Pictures of one size under one conditioning are one batch. What is patched besides FFA acts on them as it did when
    they were inverted.
    """

    def __init__(self, patches: Sequence[FusionPatch]) -> None:
        self._patches = [patch for patch in patches if any(bank.recomputed for bank in patch.read.values())]
        self._conditionings: dict[int, list] = {}

    def at(self, sigma: float, model: Any, timestep: Tensor, model_options: dict) -> Fetched:
        """Features of all such banks that are read at ``sigma``."""
        batches: dict[Any, dict[Kept, None]] = {}
        for patch in self._patches:
            for name, step in (patch.steps_at(sigma) or {}).items():
                bank = patch.read[name]
                if bank.recomputed:
                    batches.setdefault((bank.trajectory.size, _identity(bank)), {})[Kept(bank, step)] = None
        found: dict[Kept, Mapping[LayerKey, PackedFeature]] = {}
        for pictures in batches.values():
            found |= self._evaluate(list(pictures), sigma, model, timestep, model_options)
        return found

    def _evaluate(
        self, pictures: Sequence[Kept], sigma: float, model: Any, timestep: Tensor, model_options: dict
    ) -> dict[Kept, dict[LayerKey, PackedFeature]]:
        banks = [bank for bank, _ in pictures]
        first = banks[0]
        x = torch.cat([bank.trajectory.at(sigma) for bank in banks]).to(timestep.device)
        together: dict[LayerKey, PackedFeature] = {}
        options = _without_fusion(model_options, LendingPatch(LayerSelection(first.layers), together))
        conds = self._conditioning(first, model, x)
        comfy.samplers.calc_cond_batch(model, [conds], x, timestep[:1].expand(len(x)), options)
        _check_evaluated(first.layers, together)
        sizes = [bank.trajectory.batch for bank in banks]
        apart: dict[Kept, dict[LayerKey, PackedFeature]] = {picture: {} for picture in pictures}
        for key, (hidden, _, grid) in together.items():
            for picture, rows in zip(pictures, hidden.split(sizes), strict=True):
                apart[picture][key] = PackedFeature(rows, None, grid)
        return apart

    def _conditioning(self, bank: FeatureBank, model: Any, x: Tensor) -> list:
        """The bank's conditioning as the host's evaluation takes it; prepared once a run."""
        store = bank.store
        assert isinstance(store, RecomputedStore)
        if id(store) not in self._conditionings:
            conds = comfy.sampler_helpers.convert_cond([[store.context, {"pooled_output": store.pooled}]])
            ready = comfy.samplers.process_conds(model, x, {"positive": conds}, x.device, x, None, 0)
            self._conditionings[id(store)] = ready["positive"]
        return self._conditionings[id(store)]


def _check_evaluated(layers: Sequence[AttentionLayer], found: Mapping[LayerKey, PackedFeature]) -> None:
    """``ValueError`` if the network did not run, or not all of it."""
    missed = [layer for layer in layers if layer.key not in found]
    if missed:
        raise ValueError(
            f"The pictures of a recomputed bank were not evaluated at {describe(missed)}: another node leaves out "
            "evaluations (EasyCache, LazyCache). Remove it, or invert with another storage."
        )


def _identity(bank: FeatureBank) -> tuple[bytes, ...]:
    """Equal for banks that were told the same."""
    store = bank.store
    assert isinstance(store, RecomputedStore)
    return tuple(tensor.float().numpy().tobytes() for tensor in (store.context, store.pooled) if tensor is not None)


def _without_fusion(model_options: dict, patch: LendingPatch) -> dict:
    """Options of an evaluation in which ``patch`` stands in for all fusion; of all pictures at once."""
    options = model_options.get("transformer_options", {})
    patches = dict(options.get("patches", {}))
    others = [other for other in patches.get("attn1_patch", []) if not isinstance(other, Hook)]
    patches["attn1_patch"] = [*others, Hook(patch)]
    changed = {**model_options, "transformer_options": {**options, "patches": patches}}
    changed.pop(host.WINDOWS, None)  # windows are cut out of the running batch
    return changed
