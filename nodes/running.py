"""One run of a sampler over patched attention: what every evaluation is told, and what lives only as long as the run.

The patches themselves never change. An OUTER_SAMPLE wrapper makes the state of a run and drops it at its end, however
that comes; a PREDICT_NOISE wrapper announces each evaluation to the patches.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import comfy.model_management
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
from comfy.model_patcher import ModelPatcher

from ..magicstyle_core.attention import CALL, BlendPatch, Call, FusionPatch, LivePatch
from ..magicstyle_core.bank import FeatureBank
from ..magicstyle_core.features import PackedFeature
from ..magicstyle_core.layers import LayerKey, LayerSelection
from ..magicstyle_core.prefetch import CudaTransfer, Fetched, Prefetcher
from ..magicstyle_core.storage import LiveStore
from . import host

log = logging.getLogger(__name__)

KEY = "magicstyle"
RUN = "magicstyle_run"  # where the options of a run hold its state
Wrappers = comfy.patcher_extension.WrappersMP


def with_calls(model: ModelPatcher) -> ModelPatcher:
    """A clone that tells attention patches the sigma and the roles of each evaluation, and brings them features."""
    clone = model.clone()
    for kind, wrapper in ((Wrappers.OUTER_SAMPLE, _keep_run), (Wrappers.PREDICT_NOISE, _announce_call)):
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def _keep_run(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    options = guider.model_options.setdefault("transformer_options", {})  # the host made a copy for this run
    run = options[RUN] = Run(_fusion_patches(options), guider.model_patcher.load_device)
    try:
        return executor(*args, **kwargs)
    finally:
        options.pop(RUN, None)
        run.close()


def _announce_call(executor: Any, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None):
    model_options = model_options or {}
    options = model_options.get("transformer_options", {})
    guider, run = executor.class_obj, options.get(RUN)
    roles = {cond["uuid"]: role for role, conds in guider.conds.items() for cond in conds or []}
    # Read the sigma once for all layers: on a GPU every read waits for the device.
    sigma = float(timestep[0])

    def evaluate() -> Tensor:
        features = {} if run is None else run.features(sigma, guider.inner_model, timestep, model_options)
        announced = {**options, CALL: Call(sigma, roles, features)}
        return executor(x, timestep, {**model_options, "transformer_options": announced}, seed)

    try:
        return evaluate()
    except Exception as error:
        if run is None or not host.is_out_of_memory(error) or not run.give_up_prefetch():
            raise
    log.warning("Out of memory at sigma %.4g: going on without fetching features ahead.", sigma)
    comfy.model_management.soft_empty_cache()
    return evaluate()


def _fusion_patches(options: Mapping[str, Any]) -> list[FusionPatch]:
    return [patch for patch in options.get("patches", {}).get("attn1_patch", []) if isinstance(patch, FusionPatch)]


class Run:
    """What one run keeps on the device: features fetched ahead, and conditionings of pictures evaluated live."""

    def __init__(self, patches: Sequence[FusionPatch], device: torch.device) -> None:
        self._patches = patches
        self._device = device
        self._prefetcher = Prefetcher(patches, CudaTransfer(device)) if patches and device.type == "cuda" else None
        self._live = LiveEvaluation(patches) if any(_live_banks(patches)) else None

    def features(self, sigma: float, model: Any, timestep: Tensor, model_options: dict) -> Fetched:
        """What of the banks' features is at hand for the evaluation at ``sigma``."""
        fetched = {} if self._prefetcher is None else self._prefetcher.at(sigma)
        live = {} if self._live is None else self._live.at(sigma, model, timestep, model_options)
        return {**fetched, **live}

    def give_up_prefetch(self) -> bool:
        """Free what was fetched and fetch no more; False if there was nothing to give up."""
        prefetcher, self._prefetcher = self._prefetcher, None
        if prefetcher is None:
            return False
        prefetcher.drop()
        return True

    def close(self) -> None:
        """Let go of everything."""
        self.give_up_prefetch()
        self._live = None


def _live_banks(patches: Sequence[FusionPatch]) -> list[FeatureBank]:
    banks = [bank for patch in patches for bank in patch.banks.values() if isinstance(bank.store, LiveStore)]
    return list(dict.fromkeys(banks))


class LiveEvaluation:
    """Evaluates the pictures of banks without features at the running step, where their trajectories were then.

    Pictures of one size under one conditioning are one batch. What is patched besides FFA acts on them as it did when
    they were inverted.
    """

    def __init__(self, patches: Sequence[FusionPatch]) -> None:
        self._patches = patches
        self._conditionings: dict[int, list] = {}

    def at(self, sigma: float, model: Any, timestep: Tensor, model_options: dict) -> Fetched:
        """Features of all live banks that are read at ``sigma``."""
        batches: dict[Any, dict[FeatureBank, int]] = {}
        for patch in self._patches:
            for role, step in (patch.steps_at(sigma) or {}).items():
                bank = patch.banks[role]
                if isinstance(bank.store, LiveStore):
                    batches.setdefault((bank.trajectory.size, _identity(bank.store)), {})[bank] = step
        found: dict[FeatureBank, dict[LayerKey, PackedFeature]] = {}
        for banks in batches.values():
            found |= self._evaluate(banks, model, timestep, model_options)
        return found

    def _evaluate(
        self, banks: Mapping[FeatureBank, int], model: Any, timestep: Tensor, model_options: dict
    ) -> dict[FeatureBank, dict[LayerKey, PackedFeature]]:
        first = next(iter(banks))
        x = torch.cat([bank.trajectory.latents[step] for bank, step in banks.items()]).to(timestep.device)
        together: dict[LayerKey, PackedFeature] = {}
        options = _without_fusion(model_options, LivePatch(LayerSelection(first.layers), together))
        conds = self._conditioning(first.store, model, x)
        comfy.samplers.calc_cond_batch(model, [conds], x, timestep[:1].expand(len(x)), options)
        sizes = [bank.trajectory.batch for bank in banks]
        apart: dict[FeatureBank, dict[LayerKey, PackedFeature]] = {bank: {} for bank in banks}
        for key, (hidden, _, grid) in together.items():
            for bank, rows in zip(banks, hidden.split(sizes), strict=True):
                apart[bank][key] = PackedFeature(rows, None, grid)
        return apart

    def _conditioning(self, store: LiveStore, model: Any, x: Tensor) -> list:
        """The bank's conditioning as the host's evaluation takes it; prepared once a run."""
        if id(store) not in self._conditionings:
            conds = comfy.sampler_helpers.convert_cond([[store.context, {"pooled_output": store.pooled}]])
            ready = comfy.samplers.process_conds(model, x, {"positive": conds}, x.device, x, None, 0)
            self._conditionings[id(store)] = ready["positive"]
        return self._conditionings[id(store)]


def _identity(store: LiveStore) -> tuple[bytes, ...]:
    """Equal for banks that were told the same."""
    return tuple(tensor.float().numpy().tobytes() for tensor in (store.context, store.pooled) if tensor is not None)


def _without_fusion(model_options: dict, patch: LivePatch) -> dict:
    """Options of an evaluation in which ``patch`` stands in for all fusion."""
    options = model_options.get("transformer_options", {})
    patches = dict(options.get("patches", {}))
    for kind, ours in (("attn1_patch", FusionPatch), ("attn1_output_patch", BlendPatch)):
        patches[kind] = [other for other in patches.get(kind, []) if not isinstance(other, ours)]
    patches["attn1_patch"].append(patch)
    return {**model_options, "transformer_options": {**options, "patches": patches}}
