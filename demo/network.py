"""The demo model in plain torch under the pack's own inversion, fusion and sampling, without ComfyUI.

    network = Network.load(DEMO)
    content, style = network.invert(portraits), network.invert(pictures)
    images = network.stylize(content, [network.patch(FeatureFusion(), content, style)], style)

Evaluation, the truth benchmark and the quality test stand on it: batches of many pairs run through it faster
than through a server, and everything that decides the picture is the code that the nodes run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magicstyle_core.bank.bank import FeatureBank, ModelFingerprint
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.fusion.attention import CapturePatch, ForwardPass, FusionPatch, Patch
from magicstyle_core.fusion.base import FusionRule
from magicstyle_core.layers import LayerSelection
from magicstyle_core.sampling.ddim import Denoiser, Exact, InversionMethod
from magicstyle_core.sampling.fff import FeatureFusionForward, Look
from magicstyle_core.schedule import SigmaWindow, vp_from_ve

from .train.codecs import Codec
from .train.diffusion import SIGNAL, STEPS
from .train.export import load
from .train.unet import DemoUNet, Hooks

FOLDER = Path(__file__).parent
EXACT = Exact()
DEMO = FOLDER / "magicstyle_demo.safetensors"  # trained at 128 px
SMALL = FOLDER / "magicstyle_small.safetensors"  # trained at 64 px, for tests and benchmarks of quality
SIGMAS = ((1 - SIGNAL) / SIGNAL).sqrt()
COLORS = Look(texture=0.0)  # the style's colours alone
KEPT = SigmaWindow(end=float(SIGMAS[10]))  # the inversion nodes' default: not the last, almost clean step


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

    def denoiser(self, patches: Sequence[Patch] = ()) -> Denoiser:
        """The network with patches before self-attention."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            timestep = (SIGMAS.to(sigma)[None] - sigma[:, None]).abs().argmin(1)
            z = vp_from_ve(x, sigma[:, None, None, None]).contiguous(memory_format=torch.channels_last)
            hooks = Hooks(patches, _forward_pass(float(sigma[0]), patches)) if patches else None
            return x - sigma[:, None, None, None] * self.unet(z, timestep, hooks)

        return denoise

    def patch(self, rule: FusionRule, content: FeatureBank, style: FeatureBank, **settings: Any) -> FusionPatch:
        """A rule on two banks, at all layers unless `settings` say otherwise."""
        return FusionPatch(rule, {"content": content, "style": style}, **{"layers": self.layers, **settings})

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
        style: FeatureBank | None = None,
        look: Look = COLORS,
    ) -> Tensor:
        """Images on the way back from the content's noise, colours and pieces those of `style`: the Fused Sampler."""
        way, reference = content.trajectory, None if style is None else style.trajectory
        sigmas = way.sigmas.flip(0).to(self.device)
        forward = FeatureFusionForward(way, reference, look)
        return self.codec.decode(forward(self.denoiser(patches), way.latents[-1].to(self.device), sigmas))


def _forward_pass(sigma: float, patches: Sequence[Patch]) -> ForwardPass:
    acting = {patch: patch.at(sigma) for patch in patches if isinstance(patch, FusionPatch)}
    return ForwardPass(sigma, {patch: found for patch, found in acting.items() if found is not None})
