"""The network that reads: the UNet and the encoder of its prompts, trained as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..text.encoder import TextEncoder
from .export import load, load_text
from .unet import OWN, DemoUNet, Layout

UNET, TEXT = "unet.", "text."  # prefixes of the two parts in a state dict


class Painter(nn.Module):
    """eps of noisy latents under prompts."""

    OUTER = (*(UNET + name for name in DemoUNet.OUTER), *(TEXT + name for name in TextEncoder.OUTER))
    FRESH = (TEXT, ".attn2.to_", ".norm2.")

    def __init__(self, layout: Layout = OWN) -> None:
        super().__init__()
        self.unet, self.text = DemoUNet(layout), TextEncoder()

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Latents (B, C, H, W), timesteps (B,), tokens (B, L) to noise (B, C, H, W)."""
        return self.unet(noisy, timesteps, context=self.text(tokens))


def painter_from(path: Path, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of a painter that begins at a weights file, and the file's training record.

    A file whose network has never read gets a new encoder, and cross-attention that may begin to learn; its pictures
    are still those of the file.
    """
    unet, _, record = load(path)
    text = load_text(path)
    if not unet.reads_text:
        unet.open_to_text(torch.Generator().manual_seed(seed))
    if text is None:
        torch.manual_seed(seed)
        text = TextEncoder()
    state = {UNET + key: value for key, value in unet.state_dict().items()}
    return state | {TEXT + key: value for key, value in text.state_dict().items()}, record


def parts(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """State dicts of the UNet and of the encoder; of a network without one, all of it and None."""
    if not any(key.startswith(UNET) for key in state):
        return state, None
    unet, text = ({k[len(p) :]: v for k, v in state.items() if k.startswith(p)} for p in (UNET, TEXT))
    return unet, text
