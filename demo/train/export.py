"""Weights files: the own layout for Load Demo Model, and a checkpoint that the host loads as Stable Diffusion 1.5.

Own: UNet in fp16 under the host's names, codec in fp32, the encoder of prompts in fp16 if there is one. Stock: matrices
of the UNet in fp8 where that rounds them little, everything else in fp16. What the file is and how it was trained
stands in the metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codec import PatchCodec
from ..text.encoder import TextEncoder
from ..text.vocabulary import words
from .autoencoder import TinyAutoencoder
from .checkpoint import read_tensors, write_tensors
from .codecs import Codec
from .unet import OWN, STOCK, DemoUNet, Layout

LAYOUTS = {"magicstyle-demo": OWN, "magicstyle-stock": STOCK}  # by the format that a file names
VERSION = "1"
UNET_PREFIX = "model.diffusion_model."
CODEC_PREFIX = "codec."
TEXT_PREFIX = "text."
VAE_PREFIX = "first_stage_model."
SMALL_ERROR = 0.04  # relative, of a matrix in fp8: 0.026 to 0.030 in a trained network, more where weights are tiny


def export(
    path: Path,
    unet: dict[str, Tensor],
    codec: PatchCodec,
    training: dict[str, Any],
    text: dict[str, Tensor] | None = None,
) -> None:
    """Write `unet` (state dict of DemoUNet), `codec` and `text` (state dict of TextEncoder) to `path`; `training` is a
    short record."""
    tensors = {UNET_PREFIX + key: value.half() for key, value in unet.items()}
    tensors |= {CODEC_PREFIX + key: value.float() for key, value in codec.state().items()}
    metadata = _metadata("magicstyle-demo", training) | {"unet_config": json.dumps(OWN.config())}
    if text is not None:
        tensors |= {TEXT_PREFIX + key: value.half() for key, value in text.items()}
        metadata["words"] = json.dumps(words())
    write_tensors(path, tensors, metadata)


def export_stock(path: Path, unet: dict[str, Tensor], vae: TinyAutoencoder, training: dict[str, Any]) -> None:
    """Write a checkpoint for the host's own loader, without a text encoder."""
    tensors = {UNET_PREFIX + key: _small(value) for key, value in unet.items()}
    tensors |= {VAE_PREFIX + key: value.half() if value.ndim else value for key, value in vae.state_dict().items()}
    write_tensors(path, tensors, _metadata("magicstyle-stock", training))


def _small(weight: Tensor) -> Tensor:
    """fp8 for a matrix that fp8 can hold, else fp16."""
    if weight.ndim < 2:
        return weight.half()
    rounded = weight.to(torch.float8_e4m3fn)
    return rounded if (rounded.float() - weight).norm() <= SMALL_ERROR * weight.norm() else weight.half()


def _metadata(form: str, training: dict[str, Any]) -> dict[str, str]:
    return {"format": form, "version": VERSION, "training": json.dumps(training)}


def load(path: Path) -> tuple[DemoUNet, Codec, dict[str, Any]]:
    """The inverse of both, for evaluation: network in fp32, codec, training record."""
    tensors, metadata = read_tensors(path)
    layout = LAYOUTS.get(metadata.get("format", ""))
    if layout is None or metadata.get("version") != VERSION:
        raise ValueError(
            f"{path} is no weights file of the demo model: its format should be one of {', '.join(LAYOUTS)}, version"
            f" {VERSION}, but its metadata says {metadata!r}. Give a file that `--export` wrote."
        )
    model = DemoUNet(layout)
    model.load_state_dict(_part(tensors, UNET_PREFIX))
    if layout is OWN:
        codec: Codec = PatchCodec.from_state(_part(tensors, CODEC_PREFIX))
    else:
        codec = TinyAutoencoder().requires_grad_(False)
        codec.load_state_dict(_part(tensors, VAE_PREFIX))
    model.requires_grad_(False)
    return model.to(memory_format=torch.channels_last), codec, json.loads(metadata["training"])


def load_text(path: Path) -> TextEncoder | None:
    """The encoder of prompts in a weights file, in fp32; None if the file has none."""
    tensors, metadata = read_tensors(path)
    if "words" not in metadata:
        return None
    known = json.loads(metadata["words"])
    if list(words()[: len(known)]) != known:
        raise ValueError(
            f"{path} was trained on other words than those of demo/text/words.txt: its tokens would mean something"
            " else. New words belong to the end of that file."
        )
    encoder = TextEncoder()
    encoder.load_state_dict(_part(tensors, TEXT_PREFIX))
    return encoder.requires_grad_(False)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value.float() for key, value in tensors.items() if key.startswith(prefix)}


def smooth_random_unet(layout: Layout = OWN, seed: int = 0, gain: float = 0.1) -> dict[str, Tensor]:
    """State dict of an untrained network with a smooth, non-zero output: enough to test the layout."""
    torch.manual_seed(seed)
    model = DemoUNet(layout)
    for name, parameter in model.named_parameters():
        if "out_layers.3" in name or "proj_out" in name or name.startswith("out.2"):
            torch.nn.init.normal_(parameter, std=0.02 if "bias" in name else gain / parameter[0].numel() ** 0.5)
    return model.state_dict()
