"""The weights file: UNet in fp16 under the host's names, codec in fp32, configuration in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magicstyle_core.codec import PatchCodec

from .checkpoint import read_tensors, write_tensors
from .unet import UNET_CONFIG, DemoUNet, from_host_state, host_state

FORMAT = "magicstyle-demo"
VERSION = "1"
UNET_PREFIX = "model.diffusion_model."
CODEC_PREFIX = "codec."


def export(path: Path, unet: dict[str, Tensor], codec: PatchCodec, training: dict[str, Any]) -> None:
    """Write `unet` (state dict of DemoUNet) and `codec` to `path`; `training` is a short record."""
    tensors = {UNET_PREFIX + key: value.half() for key, value in host_state(unet).items()}
    tensors |= {CODEC_PREFIX + key: value.float() for key, value in codec.state().items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "unet_config": json.dumps(UNET_CONFIG),
        "training": json.dumps(training),
    }
    write_tensors(path, tensors, metadata)


def load(path: Path) -> tuple[DemoUNet, PatchCodec, dict[str, Any]]:
    """The inverse of `export`, for evaluation: network in fp32, codec, training record."""
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise ValueError(f"{path} is not a {FORMAT} file of version {VERSION}; its metadata says {metadata!r}.")
    unet = {k[len(UNET_PREFIX) :]: v.float() for k, v in tensors.items() if k.startswith(UNET_PREFIX)}
    model = DemoUNet()
    model.load_state_dict(from_host_state(unet))
    codec = {k[len(CODEC_PREFIX) :]: v for k, v in tensors.items() if k.startswith(CODEC_PREFIX)}
    model.requires_grad_(False)
    return (
        model.to(memory_format=torch.channels_last),
        PatchCodec.from_state(codec),
        json.loads(metadata["training"]),
    )


def smooth_random_unet(seed: int = 0, gain: float = 0.1) -> dict[str, Tensor]:
    """State dict of an untrained network with a smooth, non-zero output: enough to test the layout."""
    torch.manual_seed(seed)
    model = DemoUNet()
    for name, parameter in model.named_parameters():
        if "out_layers.3" in name or "proj_out" in name or name.startswith("out.2"):
            torch.nn.init.normal_(parameter, std=0.02 if "bias" in name else gain / parameter[0].numel() ** 0.5)
    return model.state_dict()
