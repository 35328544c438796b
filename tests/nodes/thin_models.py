"""Thin models in the host's own classes: every layout that matters, in milliseconds, without weights files."""

from __future__ import annotations

import math
from typing import Any

import torch

import comfy.ldm.flux.model
import comfy.model_base
import comfy.supported_models
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher

SD15 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2], "transformer_depth": [1, 1, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 0, 0], "num_heads": 4, "num_head_channels": -1, "context_dim": 64,
    "use_spatial_transformer": True, "use_linear_in_transformer": False, "adm_in_channels": None,
    "use_temporal_attention": False, "legacy": False, "dtype": torch.float32,
}  # fmt: skip
SD21 = {**SD15, "use_linear_in_transformer": True, "num_heads": -1, "num_head_channels": 8}
SDXL = {
    **SD15,
    "transformer_depth": [0, 2, 3], "transformer_depth_middle": 3, "transformer_depth_output": [3, 3, 2, 2, 0, 0],
    "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": 2816,
}  # fmt: skip
PERIOD = (1 << 19) + 1  # of the weights of whole models, in numbers: no multiple of any width
INPAINTING = {"in_channels": 9}  # the latent, a mask and the masked picture
CLASSES = {
    "SD15": (comfy.supported_models.SD15, SD15, comfy.model_base.BaseModel),
    "SD15 inpainting": (comfy.supported_models.SD15, SD15 | INPAINTING, comfy.model_base.BaseModel),
    "SD21": (comfy.supported_models.SD20, SD21, comfy.model_base.BaseModel),
    "SD21 inpainting": (comfy.supported_models.SD20, SD21 | INPAINTING, comfy.model_base.BaseModel),
    "SDXL": (comfy.supported_models.SDXL, SDXL, comfy.model_base.SDXL),
    "SDXL inpainting": (comfy.supported_models.SDXL, SDXL | INPAINTING, comfy.model_base.SDXL),
}

_FULL = {"num_res_blocks": [2] * 4, "channel_mult": [1, 2, 4, 4], "model_channels": 320, "transformer_depth_middle": 1}
_FULL |= {"transformer_depth": [1] * 6 + [0] * 2, "transformer_depth_output": [1] * 9 + [0] * 3}
FULL = {
    "SD15": {**SD15, **_FULL, "num_heads": 8, "context_dim": 768},
    "SD21": {**SD21, **_FULL, "num_head_channels": 64, "context_dim": 1024},
    "SDXL": {
        **SDXL, "model_channels": 320, "num_res_blocks": [2] * 3, "channel_mult": [1, 2, 4], "num_heads": -1,
        "num_head_channels": 64, "context_dim": 2048, "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    },
}  # fmt: skip


def patcher_of(
    layout: str, unet_config: dict[str, Any], kind: ModelType = ModelType.EPS, device: str | None = None
) -> ModelPatcher:
    """A UNet of a layout's class, with whatever the memory held as weights."""
    config_class, _, model_class = CLASSES[layout]
    return _patcher(config_class, model_class, unet_config, kind, device)


def _patcher(config_class, model_class, unet_config, kind, device=None, **settings) -> ModelPatcher:
    config = config_class({**unet_config})
    config.unet_config = {**unet_config}
    config.manual_cast_dtype = None
    config.sampling_settings = {**config.sampling_settings, **settings}
    model = model_class(config, model_type=kind, device=device)
    if config.inpaint_model():
        model.set_inpaint()
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def build(
    layout: str = "SD15", seed: int = 0, v_prediction: bool = False, config: dict[str, Any] | None = None
) -> ModelPatcher:
    """A random UNet of a layout; thin, unless another ``config`` is given."""
    kind = ModelType.V_PREDICTION if v_prediction else ModelType.EPS
    patcher = patcher_of(layout, config or CLASSES[layout][1], kind)
    fill_unet(patcher.model.diffusion_model, seed)
    return patcher


def _refiner() -> ModelPatcher:
    config = {**SDXL, "adm_in_channels": 2560}
    return _patcher(comfy.supported_models.SDXLRefiner, comfy.model_base.SDXLRefiner, config, ModelType.EPS)


def _playground() -> ModelPatcher:
    sampling = {"sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002}
    return _patcher(comfy.supported_models.SDXL, comfy.model_base.SDXL, SDXL, ModelType.EDM, **sampling)


def _transformer(config_class, model_class, kind, **config) -> ModelPatcher:
    config = {**config, "dtype": torch.float32}
    return _patcher(config_class, model_class, config, kind)


def _sd3() -> ModelPatcher:
    size = {"input_size": None, "patch_size": 2, "in_channels": 16, "depth": 1, "adm_in_channels": 64}
    context = {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 64}}
    size |= {"context_embedder_config": context, "pos_embed_max_size": 8}
    return _transformer(comfy.supported_models.SD3, comfy.model_base.SD3, ModelType.FLOW, **size)


def _flux() -> ModelPatcher:
    size = {
        "in_channels": 16, "out_channels": 16, "vec_in_dim": 32, "context_in_dim": 64, "hidden_size": 96,
        "mlp_ratio": 2.0, "num_heads": 1, "depth": 1, "depth_single_blocks": 1, "axes_dim": [32, 32, 32],
        "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
    }  # fmt: skip
    known = comfy.ldm.flux.model.FluxParams.__dataclass_fields__  # older versions have fewer
    size = {name: value for name, value in size.items() if name in known} | {"image_model": "flux"}
    return _transformer(comfy.supported_models.Flux, comfy.model_base.Flux, ModelType.FLUX, **size)


def _pixart() -> ModelPatcher:
    size = {"input_size": 8, "hidden_size": 32, "depth": 1, "num_heads": 2, "in_channels": 4, "caption_channels": 64}
    return _transformer(comfy.supported_models.PixArtSigma, comfy.model_base.PixArt, ModelType.EPS, **size)


REFUSED = {
    "SDXL refiner": _refiner,
    "Playground 2.5": _playground,
    "SD3": _sd3,
    "Flux": _flux,
    "PixArt (DiT)": _pixart,
}


def fill(module: torch.nn.Module, seed: int) -> None:
    """Random weights: the host leaves them uninitialised."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.data = _noise(weight.shape, 0.7 / math.sqrt(weight[0].numel()), generator)
        else:
            weight.data = torch.ones_like(weight) if name.endswith("weight") else torch.zeros_like(weight)


def _noise(shape: torch.Size, deviation: float, generator: torch.Generator) -> torch.Tensor:
    """Random numbers; of large tensors only so many, over and over: a whole model is filled in no time."""
    count = shape.numel()
    found = deviation * torch.randn(min(count, PERIOD), generator=generator)
    return found.repeat(-(-count // PERIOD))[:count].view(shape)


def fill_unet(unet: torch.nn.Module, seed: int) -> None:
    """Random weights whose noise prediction is smooth, as a trained one's is: small gain at the output."""
    fill(unet, seed)
    unet.out[2].weight.data *= 0.1
