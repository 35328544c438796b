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

from ..magicstyle_core.attention import CALL, Call, FusionPatch, LivePatch
from ..magicstyle_core.bank import FeatureBank, Fetched, Kept
from ..magicstyle_core.branches import FORWARD, Forward, with_forward
from ..magicstyle_core.features import PackedFeature
from ..magicstyle_core.layers import AttentionLayer, LayerKey, LayerSelection, describe
from ..magicstyle_core.prefetch import CudaTransfer, Prefetcher
from ..magicstyle_core.schedule import SIGMA_TOLERANCE, find_step, format_sigmas
from ..magicstyle_core.storage import LiveStore
from . import host

log = logging.getLogger(__name__)

KEY = "magicstyle"
RUN = "magicstyle_run"  # where the options of a run hold its state
STRENGTH = "magicstyle_strength"  # where the options of a model hold what multiplies the strength of its patches
Wrappers = comfy.patcher_extension.WrappersMP
REPLACED = "Another node replaces self-attention at %s: FFA leaves these layers to it."
OVERRIDDEN = (
    "FFA Attention Patch takes the place of what a node before it made self-attention read, at %s. Put that node after "
    "FFA, or set keys to live+style or strength below 1, and both act."
)


def with_calls(model: ModelPatcher) -> ModelPatcher:
    """A clone that tells attention patches the sigma and the roles of each evaluation, and brings them features."""
    clone = model.clone()
    wrappers = {
        Wrappers.OUTER_SAMPLE: _keep_run,
        Wrappers.PREDICT_NOISE: _announce_call,
        Wrappers.DIFFUSION_MODEL: _fuse,
    }
    for kind, wrapper in wrappers.items():
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def with_strength(model: ModelPatcher, strength: float) -> ModelPatcher:
    """A clone on which every FFA patch is as many times as strong; at 1 the model itself."""
    if strength == 1:
        return model
    clone = model.clone()
    clone.model_options.setdefault("transformer_options", {})[STRENGTH] = strength
    return clone


def _keep_run(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider, sigmas = executor.class_obj, args[3]
    options = guider.model_options.setdefault("transformer_options", {})  # the host made a copy for this run
    patches = fusion_patches(options) if options.get(STRENGTH) != 0 else []
    _check_schedule(patches, sigmas)
    run = options[RUN] = Run(patches, sigmas.tolist(), guider.model_patcher.load_device)
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
        announced = {**options, CALL: Call(sigma, roles, features, options.get(STRENGTH, 1.0))}
        return executor(x, timestep, {**model_options, "transformer_options": announced}, seed)

    try:
        return evaluate()
    except Exception as error:
        if run is None or not host.is_out_of_memory(error) or not run.give_up_prefetch():
            raise
    log.warning("Out of memory at sigma %.4g: going on without fetching features ahead.", sigma)
    comfy.model_management.soft_empty_cache()
    return evaluate()


def _fuse(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """DIFFUSION_MODEL wrapper: ``(x, timesteps, context, y, control, transformer_options)``."""
    options = args[5]
    patches = fusion_patches(options)
    if not patches:
        return executor(*args, **kwargs)
    options = with_forward(options)
    result = executor(*args[:5], options, *args[6:], **kwargs)
    options[FORWARD].check_all_used()
    if (run := options.get(RUN)) is not None:
        run.tell(patches, options[FORWARD])
    return result


def _check_schedule(patches: Sequence[FusionPatch], sigmas: Tensor) -> None:
    """``ValueError`` if a run visits no noise level of a bank; a word in the log if it visits others than the bank's."""
    visited = [sigma for sigma in sigmas.tolist() if sigma > 0]
    for bank in dict.fromkeys(bank for patch in patches if patch.strength for bank in patch.banks.values()):
        known = bank.trajectory.sigmas[1:]
        low, high = float(known[0]) * (1 - SIGMA_TOLERANCE), float(known[-1]) * (1 + SIGMA_TOLERANCE)
        if not any(low <= sigma <= high for sigma in visited):
            raise ValueError(
                f"Sampling visits no noise level that the bank holds. Bank: {format_sigmas(known.flip(0))}. Sampling: "
                f"{format_sigmas(sigmas)}. Sample with the sigmas of Bank Schedule."
            )
        if any(find_step(bank.trajectory.sigmas, sigma) is None for sigma in visited):
            log.info("Sampling visits other noise levels than the bank holds: features of the nearest ones are used.")


def fusion_patches(options: Mapping[str, Any]) -> list[FusionPatch]:
    """FFA's patches among a model's or a run's ``transformer_options``."""
    return [patch for patch in options.get("patches", {}).get("attn1_patch", []) if isinstance(patch, FusionPatch)]


class Run:
    """What one run keeps on the device: features fetched ahead, and conditionings of pictures evaluated live."""

    def __init__(self, patches: Sequence[FusionPatch], sigmas: Sequence[float], device: torch.device) -> None:
        self._prefetcher: Prefetcher | None = None
        if patches and device.type == "cuda":
            self._prefetcher = Prefetcher(patches, sigmas, CudaTransfer(device))
        self._live = LiveEvaluation(patches) if any(_live_banks(patches)) else None
        self._told: set[str] = set()

    def features(self, sigma: float, model: Any, timestep: Tensor, model_options: dict) -> Fetched:
        """What of the banks' features is at hand for the evaluation at ``sigma``."""
        fetched = {} if self._prefetcher is None else self._prefetcher.at(sigma)
        live = {} if self._live is None else self._live.at(sigma, model, timestep, model_options)
        return {**fetched, **live}

    def tell(self, patches: Sequence[FusionPatch], forward: Forward) -> None:
        """A word in the log, once a run, where FFA and another node meet at a layer and one of them does not act."""
        layers = {layer.key: layer for patch in patches for layer in patch.layers}
        for message, lost in (
            (REPLACED, [layer for layer in layers.values() if forward.is_replaced(layer.key)]),
            (OVERRIDDEN, [layers[key] for key in forward.overridden]),
        ):
            if lost and message not in self._told:
                self._told.add(message)
                log.warning(message, describe(lost))

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
        batches: dict[Any, dict[Kept, None]] = {}
        for patch in self._patches:
            for role, reading in (patch.readings_at(sigma) or {}).items():
                bank = patch.banks[role]
                if isinstance(bank.store, LiveStore):
                    pictures = batches.setdefault((bank.trajectory.size, _identity(bank.store)), {})
                    pictures |= {Kept(bank, step): None for step in reading}
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
        options = _without_fusion(model_options, LivePatch(LayerSelection(first.layers), together))
        conds = self._conditioning(first.store, model, x)
        comfy.samplers.calc_cond_batch(model, [conds], x, timestep[:1].expand(len(x)), options)
        _check_evaluated(first.layers, together)
        sizes = [bank.trajectory.batch for bank in banks]
        apart: dict[Kept, dict[LayerKey, PackedFeature]] = {picture: {} for picture in pictures}
        for key, (hidden, _, grid) in together.items():
            for picture, rows in zip(pictures, hidden.split(sizes), strict=True):
                apart[picture][key] = PackedFeature(rows, None, grid)
        return apart

    def _conditioning(self, store: LiveStore, model: Any, x: Tensor) -> list:
        """The bank's conditioning as the host's evaluation takes it; prepared once a run."""
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
            f"The pictures of a live bank were not evaluated at {describe(missed)}: another node leaves out evaluations "
            "(EasyCache, LazyCache). Remove it, or invert with another storage."
        )


def _identity(store: LiveStore) -> tuple[bytes, ...]:
    """Equal for banks that were told the same."""
    return tuple(tensor.float().numpy().tobytes() for tensor in (store.context, store.pooled) if tensor is not None)


def _without_fusion(model_options: dict, patch: LivePatch) -> dict:
    """Options of an evaluation in which ``patch`` stands in for all fusion; of all pictures at once."""
    options = model_options.get("transformer_options", {})
    patches = dict(options.get("patches", {}))
    others = [other for other in patches.get("attn1_patch", []) if not isinstance(other, FusionPatch)]
    patches["attn1_patch"] = [*others, patch]
    changed = {**model_options, "transformer_options": {**options, "patches": patches}}
    changed.pop(host.WINDOWS, None)  # windows are cut out of the running batch
    return changed
