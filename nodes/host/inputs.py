"""What comes into nodes from the graph, checked against the model: latents of pictures, and conditionings."""

from __future__ import annotations

import torch
from torch import Tensor

import comfy.model_base
from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.bank.storage import RecomputedStore
from ...magicstyle_core.layers import LayerSelection

Conditioning = list
Latent = dict

SIZES_OF_SDXL = 6 * 256  # of a pooled vector and this SDXL's labels consist: six numbers for sizes and crops
# What a conditioning can hold besides a prompt, by the host's names: for a part of the picture, of the time (with what
# stands for all of it), or made of one picture.
OF_A_PART = ("area", "mask", "gligen")
WHOLE_TIME = {"start_percent": 0.0, "end_percent": 1.0}
OF_ONE_PICTURE = ("concat_latent_image", "concat_mask", "control", "reference_latents", "unclip_conditioning")


def latent_of(model: ModelPatcher, latent: Latent, role: str) -> Tensor:
    """Samples ``(B,C,H,W)`` of a LATENT of pictures, checked against the model."""
    samples = latent.get("samples") if isinstance(latent, dict) else None
    shape = tuple(samples.shape) if isinstance(samples, Tensor) else ()
    channels = model.get_model_object("latent_format").latent_channels
    if len(shape) != 4 or shape[1] != channels or 0 in shape:
        raise ValueError(
            f"The {role} latent has shape {shape}; this model needs (batch, {channels}, height, width), none of them 0. "
            "Encode the picture with the VAE of this model."
        )
    if latent.get("noise_mask") is not None:
        raise ValueError(
            f"The {role} latent has a noise mask, and inversion takes whole pictures. Remove Set Latent Noise Mask (take "
            "VAE Encode instead of VAE Encode for Inpainting); to change a part of the picture, lay the result over the "
            "portrait with Image Composite Masked."
        )
    samples = samples.float()
    if not bool(samples.isfinite().all()):
        raise ValueError(
            f"The {role} latent holds NaN or infinite values. Encode the picture again; if it stays, run the VAE in fp32."
        )
    numbers = samples.flatten(1)
    if bool((numbers.amax(1) == numbers.amin(1)).any()):
        raise ValueError(
            f"The {role} latent holds one number everywhere: it is an empty latent and no picture. Connect a picture "
            "through VAE Encode."
        )
    return samples


def empty_conditioning(model: ModelPatcher) -> Conditioning:
    """A context of zeros as wide as the model's own: what a model sees that is told nothing."""
    config = model.model.model_config.unet_config
    # 77 tokens, as text encoders give; SDXL also reads a pooled vector of 1280.
    return [[torch.zeros(1, 77, config["context_dim"]), {"pooled_output": torch.zeros(1, 1280)}]]


def checked_conditioning(model: ModelPatcher, conditioning: Conditioning | None) -> Conditioning:
    """``conditioning``, or the empty one; ``ValueError`` if it is of another kind of text encoder."""
    if conditioning is None:
        return empty_conditioning(model)
    config = model.model.model_config.unet_config
    pooled = config["adm_in_channels"] - SIZES_OF_SDXL if isinstance(model.model, comfy.model_base.SDXL) else None
    for context, options in conditioning:
        if context.shape[-1] != config["context_dim"]:
            raise ValueError(
                f"The conditioning is {context.shape[-1]} wide, this model needs {config['context_dim']}. "
                "Use the CLIP of the same checkpoint, or leave the input empty."
            )
        found = options.get("pooled_output")
        if pooled is not None and (found is None or found.shape[-1] != pooled):
            raise ValueError(
                f"The conditioning has {'no pooled output' if found is None else f'a pooled output {found.shape[-1]} wide'}; "
                f"SDXL needs one of {pooled}. Use the CLIP of an SDXL checkpoint, or leave the input empty."
            )
    return conditioning


def inverted_conditioning(model: ModelPatcher, conditioning: Conditioning | None, pictures: str) -> Conditioning:
    """A conditioning under which whole pictures can be inverted; ``ValueError`` if it is more than one prompt for all of
    the time and all of the picture, or if it belongs to one picture and there are two kinds (``pictures`` names them)."""
    conditioning = checked_conditioning(model, conditioning)
    options = conditioning[0][1]
    partly = sorted(name for name in OF_A_PART if options.get(name) is not None)
    partly += [name for name, whole in WHOLE_TIME.items() if options.get(name, whole) != whole]
    if len(conditioning) != 1 or partly:
        raise ValueError(
            f"The conditioning holds {', '.join(partly) or f'{len(conditioning)} prompts'}; inversion takes one prompt "
            "for the whole picture and all of the time. Leave the input empty or connect a plain prompt, and give areas "
            "and ranges to the sampler."
        )
    own = sorted(name for name in OF_ONE_PICTURE if options.get(name) is not None)
    if own and pictures:
        raise ValueError(
            f"The conditioning belongs to one picture ({', '.join(own)}), and here {pictures} are inverted under it. Use "
            "two DDIM Inversion nodes, one for each, and give it to the one whose picture it is."
        )
    return conditioning


def recomputed(conditioning: Conditioning) -> RecomputedStore:
    """A store that remembers an inverted conditioning instead of features; ``ValueError`` if it holds more than a prompt."""
    ((context, options),) = conditioning
    extra = sorted(set(options) - {"pooled_output"})
    if extra:
        raise ValueError(
            "With storage recompute a bank can only remember one plain prompt; this conditioning holds "
            f"{', '.join(extra)}. Connect an empty prompt, or choose another storage."
        )
    pooled = options.get("pooled_output")
    return RecomputedStore(context.detach().cpu(), None if pooled is None else pooled.detach().cpu())


def check_window(start_percent: float, end_percent: float) -> None:
    """``ValueError`` unless these are two fractions of sampling in order."""
    if not 0 <= start_percent <= end_percent <= 1:
        raise ValueError(
            f"start_percent ({start_percent:g}) and end_percent ({end_percent:g}) must be numbers from 0 to 1, start not "
            "after end. Lower start or raise end."
        )


def check_choices(layers: str | None, start_percent: float | None, end_percent: float | None) -> None:
    """``ValueError`` for what can be for no model; None is what a link will bring."""
    if layers is not None:
        LayerSelection.check(layers)
    check_window(0.0 if start_percent is None else start_percent, 1.0 if end_percent is None else end_percent)
