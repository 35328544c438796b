"""One run of a sampler over patched attention: what every evaluation is told, and what lives only as long as the run.

The patches themselves never change. An OUTER_SAMPLE wrapper makes the state of a run and drops it at its end, however
that comes; a PREDICT_NOISE wrapper decides what depends on sigma before each evaluation. Options are the host's own
dictionaries: other nodes keep state there from step to step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import comfy.model_management
import comfy.patcher_extension
from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.bank.bank import Fetched
from ...magicstyle_core.fusion.attention import CapturePatch, ForwardPass, FusionPatch, Patch
from ...magicstyle_core.fusion.base import CONTENT
from ...magicstyle_core.fusion.prefetch import Prefetcher
from ...magicstyle_core.sampling.fff import StyleStrength
from ...magicstyle_core.schedule import SIGMA_TOLERANCE, find_step, format_sigmas
from . import attention, host, start
from .attention import PASS, Evaluation
from .meetings import Meetings
from .memory import CudaTransfer
from .recomputing import Recomputation

log = logging.getLogger(__name__)

KEY = "magicstyle"
RUN = "magicstyle_run"  # where the options of a run hold its state
Wrappers = comfy.patcher_extension.WrappersMP


def with_run(model: ModelPatcher) -> ModelPatcher:
    """A clone that tells attention patches the sigma and the roles of each evaluation, and brings them features."""
    clone = model.clone()
    wrappers = {
        Wrappers.OUTER_SAMPLE: _keep_run,
        Wrappers.PREDICT_NOISE: _begin_evaluation,
        Wrappers.DIFFUSION_MODEL: _run_pass,
    }
    for kind, wrapper in wrappers.items():
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def _keep_run(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """OUTER_SAMPLE wrapper: ``(noise, latent, sampler, sigmas, mask, ...)``."""
    guider, (noise, latent, _, sigmas, mask) = executor.class_obj, args[:5]
    options = guider.model_options.setdefault("transformer_options", {})  # the host made a copy for this run
    patches = attention.fusion_patches(options)
    start.check(patches, guider.model_patcher.model.process_latent_in(latent), noise, mask)
    run = options[RUN] = Run(patches, sigmas, guider.model_patcher.load_device, tuple(latent.shape[2:]))
    try:
        return executor(*args, **kwargs)
    finally:
        options.pop(RUN, None)
        run.close()


def run_of(model_options: Mapping[str, Any]) -> Run | None:
    """The state of the run that these options belong to, if the model is patched."""
    return model_options.get("transformer_options", {}).get(RUN)


def _begin_evaluation(executor: Any, x: Tensor, timestep: Tensor, model_options: dict | None = None, *args: Any, **kwargs: Any):
    guider, run = executor.class_obj, run_of(model_options or {})
    if run is None:
        return executor(x, timestep, model_options or {}, *args, **kwargs)

    def evaluate() -> Tensor:
        run.begin(guider, timestep, model_options)
        return host.finite(executor(x, timestep, model_options, *args, **kwargs), float(timestep[0]))

    try:
        return evaluate()
    except Exception as error:
        if not host.is_out_of_memory(error) or not run.give_up_prefetch():
            raise
    log.warning("Out of memory: going on without fetching features ahead.")
    comfy.model_management.soft_empty_cache()
    return evaluate()


def _run_pass(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """DIFFUSION_MODEL wrapper: ``(x, timesteps, context, y, control, transformer_options)``."""
    options = args[5]
    if not attention.hooks(options):
        return executor(*args, **kwargs)
    run: Run | None = options.get(RUN)
    if run is not None:
        run.check_whole(args[0], options)
    options = attention.forward_pass(options, run and run.evaluation)
    forward: ForwardPass = options[PASS]
    try:
        result = executor(*args[:5], options, *args[6:], **kwargs)
    except RuntimeError:
        forward.pending.check_all_used()  # what was not read left rows behind, which fit nothing
        raise
    forward.pending.check_all_used()
    if run is not None:
        run.meetings.note(forward, options)
    return result


class Run:
    """What one run knows and keeps on the device: features fetched ahead, and pictures that are evaluated again.

    ``strength`` multiplies that of every patch; ``evaluation`` is the one that goes on.
    """

    def __init__(
        self, patches: Sequence[FusionPatch], sigmas: Tensor, device: torch.device, size: tuple[int, ...]
    ) -> None:
        self.strength = 1.0
        self.evaluation: Evaluation | None = None
        self._patches, self._sigmas, self._size, self._checked = patches, sigmas, size, False
        self._prefetcher: Prefetcher | None = None
        if patches and device.type == "cuda":
            self._prefetcher = Prefetcher(patches, sigmas.tolist(), CudaTransfer(device))
        self._recomputation = Recomputation(patches)
        self.meetings = Meetings()

    def begin(self, guider: Any, timestep: Tensor, model_options: dict) -> None:
        """Decide what depends on sigma alone: once for all layers and batches of an evaluation."""
        self.meetings.tell()  # of the evaluation before
        if not self._checked and self.strength:
            _check_schedule(self._patches, self._sigmas)
            self._checked = True
        roles = {cond["uuid"]: role for role, conds in guider.conds.items() for cond in conds or []}
        # Read the sigma once: on a GPU every read waits for the device.
        sigma = float(timestep[0])
        fetched: Fetched = {}
        if self.strength:
            fetched = {} if self._prefetcher is None else self._prefetcher.at(sigma)
            fetched = {**fetched, **self._recomputation.at(sigma, guider.inner_model, timestep, model_options)}
        acting = {patch: patch.at(sigma, self.strength, fetched) for patch in self._patches}
        self.evaluation = Evaluation(sigma, roles, acting)

    def check_whole(self, x: Tensor, options: Mapping[str, Any]) -> None:
        """``ValueError`` if the network is given a part of the picture where patches count on all of it."""
        needy = [hook.patch for hook in attention.hooks(options) if _counts_on_place(hook.patch)]
        if needy and tuple(x.shape[2:]) != self._size:
            height, width = x.shape[2:]
            raise ValueError(
                f"The network is given {height}x{width} of a latent of {self._size[0]}x{self._size[1]}: another node "
                "runs it tile by tile, or a conditioning has an area. Inversion needs the whole picture, so remove that "
                "node while inverting; for sampling leave content_bank of FFA unconnected, which then works on any part."
            )

    def give_up_prefetch(self) -> bool:
        """Free what was fetched and fetch no more; False if there was nothing to give up."""
        prefetcher, self._prefetcher = self._prefetcher, None
        if prefetcher is None:
            return False
        prefetcher.drop()
        return True

    def close(self) -> None:
        """Let go of everything."""
        self.meetings.tell()
        self.give_up_prefetch()
        self.evaluation = None
        self._recomputation = Recomputation(())


def _counts_on_place(patch: Patch) -> bool:
    """Whether a patch keeps or reads features of the running picture by their place."""
    return isinstance(patch, CapturePatch) or (isinstance(patch, FusionPatch) and CONTENT in patch.read)


def set_strength(model_options: Mapping[str, Any], strength: StyleStrength) -> None:
    """For this run, how many times as strong the patches on its model are."""
    run = run_of(model_options)
    if run is not None:
        run.strength = strength.attention


def _check_schedule(patches: Sequence[FusionPatch], sigmas: Tensor) -> None:
    """``ValueError`` if a run visits no noise level of a bank; a word in the log if it visits others than the bank's."""
    visited = [sigma for sigma in sigmas.tolist() if sigma > 0]
    for bank in dict.fromkeys(bank for patch in patches if patch.strength for bank in patch.read.values()):
        known = bank.trajectory.sigmas[1:]
        low, high = float(known[0]) * (1 - SIGMA_TOLERANCE), float(known[-1]) * (1 + SIGMA_TOLERANCE)
        if not any(low <= sigma <= high for sigma in visited):
            raise ValueError(
                f"Sampling visits no noise level that the bank holds. Bank: {format_sigmas(known.flip(0))}. Sampling: "
                f"{format_sigmas(sigmas)}. Sample with the sigmas of Bank Schedule."
            )
        if any(find_step(bank.trajectory.sigmas, sigma) is None for sigma in visited):
            log.info("Sampling visits other noise levels than the bank holds: features of the nearest ones are used.")
