"""Thin models in the host's own classes: every layout that matters, in milliseconds, without weights files."""

from __future__ import annotations

import math

import torch

import comfy.model_base
import comfy.supported_models
from comfy.model_patcher import ModelPatcher

SD15 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2], "transformer_depth": [1, 1, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 0, 0], "num_heads": 4, "num_head_channels": -1, "context_dim": 64,
    "use_spatial_transformer": True, "use_linear_in_transformer": False, "adm_in_channels": None,
    "use_temporal_attention": False, "legacy": False, "dtype": torch.float32,
}  # fmt: skip
SDXL = {
    **SD15,
    "transformer_depth": [0, 2, 3], "transformer_depth_middle": 3, "transformer_depth_output": [3, 3, 2, 2, 0, 0],
    "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": 2816,
}  # fmt: skip
CLASSES = {
    "SD15": (comfy.supported_models.SD15, SD15, comfy.model_base.BaseModel),
    "SDXL": (comfy.supported_models.SDXL, SDXL, comfy.model_base.SDXL),
}


def build(layout: str = "SD15", seed: int = 0, v_prediction: bool = False, **changes) -> ModelPatcher:
    """A random UNet of a layout."""
    config_class, unet_config, model_class = CLASSES[layout]
    config = config_class({**unet_config, **changes})
    config.unet_config = {**unet_config, **changes}
    config.manual_cast_dtype = None
    kind = comfy.model_base.ModelType.V_PREDICTION if v_prediction else comfy.model_base.ModelType.EPS
    model = model_class(config, model_type=kind)
    fill_unet(model.diffusion_model, seed)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def fill(module: torch.nn.Module, seed: int) -> None:
    """Random weights: the host leaves them uninitialised."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.data = torch.randn(weight.shape, generator=generator) * (0.7 / math.sqrt(weight[0].numel()))
        else:
            weight.data = torch.ones_like(weight) if name.endswith("weight") else torch.zeros_like(weight)


def fill_unet(unet: torch.nn.Module, seed: int) -> None:
    """Random weights whose noise prediction is smooth, as a trained one's is: small gain at the output."""
    fill(unet, seed)
    unet.out[2].weight.data *= 0.1


class FluxLike(torch.nn.Module):
    """A diffusion model without the blocks of a UNet, as seen by a node that is given one."""

    @classmethod
    def patcher(cls) -> ModelPatcher:
        model = build().model
        model.diffusion_model = cls()
        return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
