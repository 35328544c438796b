"""Models of the host: their self-attention layers, and what tells one from another."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

import comfy.model_base
import comfy.model_sampling
from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.bank.bank import FeatureBank, ModelFingerprint
from ...magicstyle_core.layers import AttentionLayer, LayerKey

SUPPORTED = "MagicStyle works on Stable Diffusion UNets (SD 1.x, SD 2.x, SDXL)"
SAMPLED = 256  # numbers of each tensor that tell checkpoints apart


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
            f"{SUPPORTED} with eps or v prediction; this model samples by {_prediction(sampling)}. "
            "Load another checkpoint, or remove the node that changes its sampling."
        )
    return unet


def _prediction(sampling: Any) -> str:
    """Name of the prediction type: the last of the host's classes that this one was assembled from."""
    return type(sampling).__bases__[-1].__name__


def fingerprint(model: ModelPatcher) -> ModelFingerprint:
    layers = attention_layers(model)
    config = model.model.model_config.unet_config
    sampling = model.get_model_object("model_sampling")
    sigmas = f"sigma {float(sampling.sigma_min):.4g} to {float(sampling.sigma_max):.4g}"
    return ModelFingerprint(
        type(model.model.model_config).__name__,
        f"{_prediction(sampling)}, {sigmas}",
        config["model_channels"],
        config["context_dim"],
        len(layers),
        _weights(model),
    )


def _weights(model: ModelPatcher) -> str:
    """Short hash of a sample of the weights, which tells checkpoints of one kind apart.

    The host gives weights as they were loaded, also while LoRAs are applied to them.
    """
    digest = hashlib.sha256()
    for prefix in ("diffusion_model.time_embed.", "diffusion_model.middle_block.", "diffusion_model.out."):
        for _, entries in sorted(model.get_key_patches(prefix).items()):
            weight = entries[0][0].detach().flatten()
            sample = weight[:: max(1, len(weight) // SAMPLED)].to("cpu", torch.float32)
            digest.update(sample.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def check_model(model: ModelPatcher, bank: FeatureBank, role: str) -> None:
    """``ValueError`` unless ``bank`` was captured on a model like this one."""
    if bank.model != fingerprint(model):
        raise ValueError(
            f"The {role} bank was captured on {bank.model}, but this model is {fingerprint(model)}. "
            "Invert the picture again with this model."
        )


def thumbnail(model: ModelPatcher, latent: Tensor) -> Tensor | None:
    """The first picture ``(1,C,h,w)`` of a latent in the model's own units, small and rough: ``(h,w,3)`` uint8."""
    factors = model.get_model_object("latent_format").latent_rgb_factors
    if factors is None:
        return None
    bias = getattr(model.get_model_object("latent_format"), "latent_rgb_factors_bias", None) or [0.0, 0.0, 0.0]
    colors = latent[0].float().cpu().movedim(0, -1) @ torch.tensor(factors) + torch.tensor(bias)
    return ((colors + 1) * 127.5).clamp(0, 255).to(torch.uint8)
