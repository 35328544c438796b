"""The demo model in plain torch under the pack's own inversion, fusion and sampling, without ComfyUI.

    network = Network.load(DEMO)
    content, style = network.invert(portraits), network.invert(pictures)
    images = network.stylize(content, [FusionPatch(FeatureFusion(), content, style, network.layers)], style)

Evaluation, the truth benchmark and the quality test stand on it: batches of many pairs run through it faster
than through a server, and everything that decides the picture is the code that the nodes run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from magicstyle_core.attention import CapturePatch, FusionPatch
from magicstyle_core.bank import FeatureBank, ModelFingerprint
from magicstyle_core.branches import with_forward
from magicstyle_core.color import adain, transport
from magicstyle_core.ddim import Denoiser, Exact, InversionMethod, sample
from magicstyle_core.layers import LayerSelection
from magicstyle_core.recording import CapturePlan, FeatureRecorder
from magicstyle_core.schedule import SigmaWindow, vp_from_ve
from magicstyle_core.texture import TextureSwap

from .train.codecs import Codec
from .train.diffusion import SIGNAL, STEPS
from .train.export import load
from .train.unet import DemoUNet

FOLDER = Path(__file__).parent
EXACT = Exact()
DEMO = FOLDER / "magicstyle_demo.safetensors"  # trained at 128 px
SMALL = FOLDER / "magicstyle_small.safetensors"  # trained at 64 px, for tests and benchmarks of quality
SIGMAS = ((1 - SIGNAL) / SIGNAL).sqrt()
KEPT = SigmaWindow(end=float(SIGMAS[10]))  # the inversion nodes' default: not the last, almost clean step
_PROMPT = uuid.UUID(int=0)  # one conditioning, always the same


def schedule(steps: int) -> Tensor:
    """Ascending sigmas (steps + 1,) from 0, evenly spaced in time: the host's `ddim_uniform`."""
    return torch.cat([torch.zeros(1), SIGMAS[[1 + i * (STEPS // steps) for i in range(steps)]]])


@dataclass(frozen=True, eq=False)
class Network:
    """UNet and codec of one weights file. Images are (B, 3, S, S) in 0..1, S a multiple of 8."""

    unet: DemoUNet
    codec: Codec

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read a weights file."""
        unet, codec, _ = load(path)
        return cls(unet, codec)

    @property
    def device(self) -> torch.device:
        """Where the network is; pictures and banks may be elsewhere."""
        return next(self.unet.parameters()).device

    @property
    def layers(self) -> LayerSelection:
        """All self-attention layers."""
        return LayerSelection(self.unet.attention_layers())

    def denoiser(self, patches: Sequence[Callable] = ()) -> Denoiser:
        """The network with patches before self-attention (`attn1_patch`)."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            timestep = (SIGMAS.to(sigma)[None] - sigma[:, None]).abs().argmin(1)
            rows = {"sigmas": sigma, "cond_or_uncond": [0], "uuids": [_PROMPT]}
            options = with_forward({"patches": {"attn1_patch": patches}, **rows})
            z = vp_from_ve(x, sigma[:, None, None, None]).contiguous(memory_format=torch.channels_last)
            return x - sigma[:, None, None, None] * self.unet(z, timestep, options if patches else None)

        return denoise

    @torch.no_grad()
    def invert(self, images: Tensor, steps: int = 20, method: InversionMethod = EXACT) -> FeatureBank:
        """Bank of a batch of images with the features of every layer."""
        sigmas, latents = schedule(steps).to(self.device), self.codec.encode(images.to(self.device))
        recorder = FeatureRecorder(CapturePlan(self.layers, sigmas, window=KEPT), [len(images)])
        trajectory = method(self.denoiser([CapturePatch(recorder)]), latents, sigmas)
        model = ModelFingerprint("demo", "eps", self.unet.layout.width, self.unet.layout.context, len(self.layers))
        return recorder.publish(trajectory, model)[0]

    @torch.no_grad()
    def stylize(
        self,
        content: FeatureBank,
        patches: Sequence[FusionPatch] = (),
        colors: FeatureBank | None = None,
        color: Literal["match", "adain", "none"] = "match",
        detail: float = 1.0,
        color_strength: float = 1.0,
        texture: float = 0.0,
    ) -> Tensor:
        """Images on the way back from the content's noise, colours and pieces those of `colors`: the Fused Sampler."""
        way, reference = content.trajectory, None if colors is None else colors.trajectory.latents
        x = way.latents[-1].to(self.device)
        if color == "adain" and reference is not None:
            x = adain(x, reference[-1], color_strength)
        denoise = self.denoiser(patches)
        down = way.sigmas.flip(0).to(self.device)
        colors = 0.0 if color == "none" else color_strength
        swap = None if reference is None else TextureSwap(reference[0], down, texture, colors)
        x = sample(denoise, x, down, way.residuals_down(way.steps), detail, correct=swap)
        if color == "match" and reference is not None:
            x = transport(x, reference[0], color_strength)
        return self.codec.decode(x)
