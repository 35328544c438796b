"""Everything peculiar to ComfyUI but its models and what comes from the graph: schedules, and how a sampler is run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from server import PromptServer

from ...magicstyle_core.sampling.ddim import Denoiser
from ...magicstyle_core.schedule import SigmaWindow
from .inputs import Conditioning, check_window

WINDOWS = "context_handler"  # where the options of a model hold what runs a long batch a few images at a time
GUIDANCE = ("sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function")

Progress = Callable[[int, Tensor, Tensor, int], None]  # (step, x0, x, steps): the host's callback of a sampling run


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device ran out of memory; older hosts know one kind of error only."""
    known = getattr(comfy.model_management, "is_oom", None)
    return isinstance(error, comfy.model_management.OOM_EXCEPTION) if known is None else known(error)


def window(model: ModelPatcher, start_percent: float, end_percent: float) -> SigmaWindow:
    """Part of sampling between two fractions of it; ``ValueError`` if it ends before it begins."""
    check_window(start_percent, end_percent)
    sampling = model.get_model_object("model_sampling")
    return SigmaWindow(sampling.percent_to_sigma(start_percent), sampling.percent_to_sigma(end_percent))


def running_node(node: type) -> str | None:
    """Id of the node of the graph that runs, if one does."""
    return getattr(getattr(node, "hidden", None), "unique_id", None)


def show(text: str, node: str | None) -> None:
    """Text on a node of the page; None shows nothing."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node is not None:
        server.send_progress_text(text, node)


def schedule(model: ModelPatcher, scheduler: str, steps: int) -> Tensor:
    """Sampling sigmas of the host's scheduler, falling to 0."""
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps).cpu()


def without_guidance(model: ModelPatcher) -> ModelPatcher:
    """A clone without other nodes' guidance (PAG, SAG, rescaled CFG) and windows: inversion follows the bare model."""
    clone = model.clone()
    left_out = (*GUIDANCE, WINDOWS)
    clone.model_options = {key: value for key, value in clone.model_options.items() if key not in left_out}
    return clone


def denoiser(model: Callable[..., Tensor], extra_args: dict | None) -> Denoiser:
    """What a SAMPLER function is given, as core wants it."""
    return lambda x, sigma: finite(model(x, sigma, **(extra_args or {})), float(sigma[0]))


def finite(denoised: Tensor, sigma: float) -> Tensor:
    """What the network gave; ``ValueError`` if it holds NaN or infinite values."""
    if not bool(denoised.isfinite().all()):
        raise ValueError(
            f"The network gave NaN or infinite values at sigma {sigma:.4g}. Start the host with --force-fp32 (or another "
            "precision), lower cfg and strengths, or remove what patches the model; if a bank was made in another "
            "precision, invert its picture again."
        )
    return denoised


def run_sampler(
    model: ModelPatcher,
    function: Callable[..., Tensor],
    sigmas: Tensor,
    latent: Tensor,
    positive: Conditioning,
    negative: Conditioning | None = None,
    cfg: float = 1.0,
    progress: Progress | None = None,
) -> Tensor:
    """Run a SAMPLER function on ``latent (B,C,H,W)`` as it is, without adding noise, through the host.

    ``progress`` None shows the run's own, with a preview.
    """
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive} if negative is None else {"positive": positive, "negative": negative})
    guider.set_cfg(cfg)
    callback = progress or latent_preview.prepare_callback(model, len(sigmas) - 1)
    return guider.sample(
        torch.zeros_like(latent),
        latent,
        comfy.samplers.KSAMPLER(function),
        sigmas,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=0,
    ).cpu()
