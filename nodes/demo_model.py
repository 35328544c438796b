"""Load Demo Model: the pack's own small UNet, linear codec and encoder of prompts as MODEL, VAE and CLIP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.supported_models
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..demo.codec import PATCH, PatchCodec
from .demo_text import load_clip
from .types import CATEGORY

WEIGHTS = Path(__file__).parent.parent / "demo" / "magicstyle_demo.safetensors"
UNET, CODEC, TEXT = "model.diffusion_model.", "codec.", "text."


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_DemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description="A small diffusion model that comes with the pack: no download, made to try the nodes in seconds. "
            "It reads prompts about portraits. For real work load a Stable Diffusion checkpoint.",
            search_aliases=["demo", "example", "checkpoint"],
            inputs=[],
            outputs=[  # new ones go to the end: saved workflows hold links by position
                io.Model.Output(display_name="model", tooltip="UNet with seven self-attentions and 16 latent channels."),
                io.Vae.Output(display_name="vae", tooltip="Linear codec: four times smaller latents. Works in VAE Encode and VAE Decode."),
                io.Clip.Output(display_name="clip", tooltip="Encoder of prompts, 64 wide. Works in CLIP Text Encode. It knows the words of its portraits (hair, clothes, backdrops, manners of painting) and leaves others out."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        with safetensors.safe_open(WEIGHTS, framework="pt") as file:
            config = json.loads(file.metadata()["unet_config"])
        tensors = load_file(WEIGHTS)
        codec = PatchCodec.from_state(_part(tensors, CODEC))
        text = _part(tensors, TEXT)  # none in files from before it: no CLIP, as the host's loader of checkpoints says it
        clip = load_clip(text) if text else None
        return io.NodeOutput(load_unet(config, _part(tensors, UNET), codec), CodecVAE(codec), clip)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


class DemoLatents(comfy.latent_formats.LatentFormat):
    """Latents of the patch codec: already of unit variance, with colours for previews."""

    latent_channels = 16
    spacial_downscale_ratio = PATCH

    def __init__(self, codec: PatchCodec) -> None:
        self.latent_rgb_factors, self.latent_rgb_factors_bias = codec.rgb_factors()


class DemoConfig(comfy.supported_models.SD15):
    """SD 1.x, except for sizes and latents."""

    def __init__(self, unet_config: dict, codec: PatchCodec) -> None:
        super().__init__(dict(unet_config))
        self.unet_config = {**unet_config, "dtype": torch.float32}  # four million weights: not worth casting
        self.latent_format = DemoLatents(codec)
        self.manual_cast_dtype = None


class DemoModel(comfy.model_base.BaseModel):
    def extra_conds(self, **conditioning: Any) -> dict:
        """The host asks for these of every prompt before it samples."""
        found, width = conditioning.get("cross_attn"), self.model_config.unet_config["context_dim"]
        if found is not None and found.shape[-1] != width:
            raise ValueError(
                f"The conditioning is {found.shape[-1]} wide, the demo model needs {width}. Use the clip output of Load Demo "
                "Model in CLIP Text Encode."
            )
        return super().extra_conds(**conditioning)


def load_unet(config: dict, weights: dict[str, Tensor], codec: PatchCodec) -> ModelPatcher:
    model = DemoModel(DemoConfig(config, codec))
    model.diffusion_model.load_state_dict({key: value.float() for key, value in weights.items()})
    device = comfy.model_management.get_torch_device()
    patcher = ModelPatcher(model, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    patcher.model_options["transformer_options"]["optimized_attention_override"] = _attend
    return patcher


def _attend(func: Callable[..., Tensor], q: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The host's attention; on the CPU torch's, which takes half as long there as what the host starts with."""
    return (attention_pytorch if q.device.type == "cpu" else func)(q, *args, **kwargs)


class CodecVAE:
    """The patch codec with the methods of the host's VAE. Images are ``(B,H,W,3)`` in 0..1."""

    latent_channels = 16
    downscale_ratio = upscale_ratio = PATCH

    def __init__(self, codec: PatchCodec) -> None:
        self.first_stage_model = codec

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents ``(B,16,H/4,W/4)``; what does not fill a patch is cropped, as the host's VAE does."""
        images = pixels[..., :3].movedim(-1, 1).float()
        height, width = (side // PATCH * PATCH for side in images.shape[2:])
        top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
        return self.first_stage_model.encode(images[:, :, top : top + height, left : left + width])

    def decode(self, samples: Tensor, **_options) -> Tensor:
        return self.first_stage_model.decode(samples.float()).movedim(1, -1)

    # Every patch is coded by itself, so tiles would give the same picture.
    def encode_tiled(self, pixels: Tensor, **_options) -> Tensor:
        return self.encode(pixels)

    def decode_tiled(self, samples: Tensor, **_options) -> Tensor:
        return self.decode(samples)

    def spacial_compression_encode(self) -> int:
        return PATCH

    def spacial_compression_decode(self) -> int:
        return PATCH

    def temporal_compression_decode(self) -> None:
        return None
