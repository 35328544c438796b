"""Models of the host: which are supported, and their self-attention layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import comfy.model_base
import comfy.model_sampling
from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.layers import AttentionLayer, LayerKey

SUPPORTED = "MagicStyle works on Stable Diffusion UNets (SD 1.x, SD 2.x, SDXL)"


def attention_layers(model: ModelPatcher) -> tuple[AttentionLayer, ...]:
    """Self-attentions of a UNet in the order in which they run; ``ValueError`` for any other model."""
    unet = _supported_unet(model)
    layers, scale = [], 1
    for block, modules in (("input", unet.input_blocks), ("middle", [unet.middle_block]), ("output", unet.output_blocks)):
        for index, parts in enumerate(modules):
            for part in parts or []:  # some distilled UNets have no middle block
                if isinstance(part, SpatialVideoTransformer):
                    raise ValueError(f"{SUPPORTED}, not on video models. Load another checkpoint.")
                if isinstance(part, Downsample):
                    scale *= 2
                elif isinstance(part, Upsample):
                    scale //= 2
                elif isinstance(part, SpatialTransformer):
                    layers += [
                        AttentionLayer(LayerKey(block, index, depth), transformer.attn1.to_q.in_features, scale)
                        for depth, transformer in enumerate(part.transformer_blocks)
                        if not transformer.disable_self_attn
                    ]
    return tuple(layers)


def _supported_unet(model: ModelPatcher) -> UNetModel:
    unet = model.get_model_object("diffusion_model")
    if not isinstance(unet, UNetModel) and isinstance(model.model.diffusion_model, UNetModel):
        raise ValueError(
            f"Another node put {type(unet).__name__} in the place of this model's UNet. Connect the model from before that "
            "node."
        )
    if not isinstance(unet, UNetModel):
        raise ValueError(f"{SUPPORTED}; this model is {type(model.model).__name__}. Load another checkpoint.")
    if isinstance(model.model, comfy.model_base.SDXLRefiner):
        raise ValueError(
            f"{SUPPORTED}, not on the SDXL refiner: it knows the last fifth of the noise levels only, and inversion goes "
            "through all of them. Load the SDXL base checkpoint, and refine the result if you like."
        )
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.EPS) or isinstance(sampling, comfy.model_sampling.EDM):
        raise ValueError(
            f"{SUPPORTED} with eps or v prediction; this model samples by {prediction(sampling)}. "
            "Load another checkpoint, or remove the node that changes its sampling."
        )
    return unet


def prediction(sampling: Any) -> str:
    """Name of the prediction type: the last of the host's classes that this one was assembled from."""
    return type(sampling).__bases__[-1].__name__


def thumbnail(model: ModelPatcher, latent: Tensor) -> Tensor | None:
    """The first picture ``(1,C,h,w)`` of a latent in the model's own units, small and rough: ``(h,w,3)`` uint8."""
    factors = model.get_model_object("latent_format").latent_rgb_factors
    if factors is None:
        return None
    bias = getattr(model.get_model_object("latent_format"), "latent_rgb_factors_bias", None) or [0.0, 0.0, 0.0]
    colors = latent[0].float().cpu().movedim(0, -1) @ torch.tensor(factors) + torch.tensor(bias)
    return ((colors + 1) * 127.5).clamp(0, 255).to(torch.uint8)
