"""The models that costs are measured on, each with two pictures as latents."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from magicstyle.magicstyle_core.layers import LayerKey
from magicstyle.nodes.demo_model import LoadDemoModel
from PIL import Image

import comfy.model_base
import comfy.model_management
import comfy.supported_models
from comfy.model_patcher import ModelPatcher

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SD15 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "num_heads": 8, "num_head_channels": -1,
    "context_dim": 768, "use_spatial_transformer": True, "use_linear_in_transformer": False, "adm_in_channels": None,
    "use_temporal_attention": False, "legacy": False,
}  # fmt: skip
SDXL = {
    **SD15, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "num_heads": -1, "num_head_channels": 64, "context_dim": 2048, "use_linear_in_transformer": True,
    "num_classes": "sequential", "adm_in_channels": 2816,
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A model, two pictures of one size, and the layers that the workflow for this model captures."""

    name: str
    model: ModelPatcher
    content: dict
    style: dict
    layers: str

    @property
    def size(self) -> tuple[int, int]:
        """Latent size ``(H, W)``."""
        return tuple(self.content["samples"].shape[2:])

    def transformer(self, key: LayerKey) -> torch.nn.Module:
        """The block that has the self-attention ``attn1`` of an address."""
        unet = self.model.get_model_object("diffusion_model")
        parts = unet.middle_block if key.block == "middle" else getattr(unet, f"{key.block}_blocks")[key.index]
        return next(part for part in parts if hasattr(part, "transformer_blocks")).transformer_blocks[key.depth]

    def batch(self, count: int) -> Subject:
        """The same with ``count`` portraits."""
        return replace(self, content={"samples": self.content["samples"].repeat(count, 1, 1, 1)})


def demo(pixels: int = 128) -> Subject:
    """The demo model with a photograph and a painting."""
    model, vae, _ = LoadDemoModel.execute().args

    def latent(name: str) -> dict:
        picture = Image.open(ASSETS / name).convert("RGB").resize((pixels, pixels), Image.Resampling.LANCZOS)
        return {"samples": vae.encode(torch.from_numpy(np.array(picture)).float()[None] / 255)}

    content, style = latent("portrait_astronaut.jpg"), latent("style_oil.jpg")
    return Subject(f"demo model, {pixels} px", model, content, style, "all")


def sd15(pixels: int, dtype: torch.dtype = torch.float32) -> Subject:
    """SD 1.5 at full size: 860 million random weights."""
    model = _random(comfy.supported_models.SD15, comfy.model_base.BaseModel, SD15, dtype)
    return Subject(f"SD 1.5, {pixels} px", model, *_latents(pixels), "high-res decoder")


def sdxl(pixels: int, dtype: torch.dtype = torch.float16) -> Subject:
    """SDXL at full size: 2.6 billion random weights."""
    model = _random(comfy.supported_models.SDXL, comfy.model_base.SDXL, SDXL, dtype)
    return Subject(f"SDXL, {pixels} px", model, *_latents(pixels), "high-res decoder")


def _latents(pixels: int) -> tuple[dict, dict]:
    """Two smooth latents in the units of a VAE."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 4, 8, 8, generator=generator) / 0.18215
    content, style = torch.nn.functional.interpolate(coarse, size=(pixels // 8, pixels // 8), mode="bicubic").chunk(2)
    return {"samples": content}, {"samples": style}


def _random(kind: type, base: type, layout: dict, dtype: torch.dtype) -> ModelPatcher:
    """A model of the host's own classes with weights of about unit gain; the host leaves them uninitialised."""
    unet_config = {**layout, "dtype": dtype}
    config = kind(unet_config)
    config.unet_config, config.manual_cast_dtype = unet_config, None
    model = base(config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.diffusion_model.named_parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.7 / math.sqrt(weight[0].numel()), generator=generator)
        else:
            weight.data.fill_(float(name.endswith("weight")))
    model.diffusion_model.out[2].weight.data *= 0.1  # a smooth noise prediction, as a trained one's is
    device = comfy.model_management.get_torch_device()
    return ModelPatcher(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
