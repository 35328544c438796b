"""Denoisers ``(x, sigma) -> x0``: the thin UNet driven as a host drives its own, and closed forms.

Rows are chunk-major: all images under one conditioning, then all images under the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from unet import CHANNELS, CONTEXT, Hooks, ThinUNet

from magicstyle_core.bank.bank import FeatureBank, Fetched, ModelFingerprint
from magicstyle_core.bank.features import Feature
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.fusion.attention import CapturePatch, ForwardPass, FusionPatch
from magicstyle_core.fusion.base import FusionRule
from magicstyle_core.layers import LayerKey, LayerSelection
from magicstyle_core.sampling.ddim import Exact, InversionMethod
from magicstyle_core.schedule import ascending

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ALPHAS = torch.cumprod(1 - BETAS, 0)
SIGMAS = ((1 - ALPHAS) / ALPHAS).sqrt()  # Stable Diffusion's thousand, ascending

FINGERPRINT = ModelFingerprint("ThinUNet", "EPS", 32, CONTEXT, 7)


class Conditioning(NamedTuple):
    role: str
    context: Tensor  # (1,M,16)

    @classmethod
    def random(cls, role: str, seed: int, tokens: int = 5) -> Conditioning:
        return cls(role, gaussian((1, tokens, CONTEXT), seed))


@dataclass(frozen=True)
class UNetDenoiser:
    """An eps model in the variance-exploding form.

    ``arrangement`` is how conditionings reach the network: in one batch, one after the other, or in one batch
    the other way round. ``after`` sees what left a self-attention; ``fetch`` has features of a sigma at hand.
    """

    unet: ThinUNet
    conditionings: tuple[Conditioning, ...]
    cfg: float = 1.0
    patches: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()
    arrangement: Literal["together", "apart", "reversed"] = "together"
    replaced: frozenset[tuple] = frozenset()
    fetch: Callable[[float], Fetched] | None = None

    def patched(self, *patches: Any) -> UNetDenoiser:
        """With these attention patches."""
        return replace(self, patches=self.patches + patches)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        indices = list(range(len(self.conditionings)))
        batches = [[index] for index in indices] if self.arrangement == "apart" else [indices]
        if self.arrangement == "reversed":
            batches = [indices[::-1]]
        denoised: dict[int, Tensor] = {}
        for batch in batches:
            denoised |= zip(batch, self.evaluate(x, sigma, batch).chunk(len(batch)), strict=True)
        return denoised[0] if len(denoised) == 1 else denoised[1] + self.cfg * (denoised[0] - denoised[1])

    def evaluate(self, x: Tensor, sigma: Tensor, batch: Sequence[int]) -> Tensor:
        """Estimates under some conditionings, in one batch."""
        chosen = [self.conditionings[index] for index in batch]
        forward = self._forward(float(sigma[0]), [conditioning.role for conditioning in chosen])
        rows, sigmas = x.repeat(len(batch), 1, 1, 1), sigma.repeat(len(batch)).view(-1, 1, 1, 1)
        context = torch.cat([conditioning.context for conditioning in chosen]).to(x).repeat_interleave(len(x), 0)
        # The best linear guess for data of unit variance; the network adds to it. Noise comes out as noise.
        scale = (1 + sigmas**2).sqrt()
        hooks = Hooks(forward, self.patches, self.after)
        eps = self.unet(rows / scale, timestep(sigmas).flatten(), context, hooks)
        forward.pending.check_all_used()
        return rows - sigmas * (eps + sigmas * rows / scale**2)

    def _forward(self, sigma: float, roles: Sequence[str]) -> ForwardPass:
        fetched = None if self.fetch is None else self.fetch(sigma)
        found = {p: p.at(sigma, fetched=fetched) for p in self.patches if isinstance(p, FusionPatch)}
        acting = {patch: acts for patch, acts in found.items() if acts is not None}
        return ForwardPass(sigma, acting, roles, self.replaced)


def timestep(sigma: Tensor) -> Tensor:
    """Timestep 0 to 999 of any sigma, interpolated in its logarithm."""
    low, high = SIGMAS[:-1].log(), SIGMAS[1:].log()
    value = sigma.double().clamp(SIGMAS[0], SIGMAS[-1]).log()
    index = torch.searchsorted(high.contiguous(), value).clamp_max(len(low) - 1)
    return (index + (value - low[index]) / (high[index] - low[index])).to(sigma)


def descending(steps: int) -> Tensor:
    """Sampling schedule ``(steps+1,)``: evenly spaced timesteps from 999 down, then 0."""
    chosen = 999 - torch.arange(steps) * 1000 // steps
    return torch.cat([SIGMAS[chosen], SIGMAS.new_zeros(1)])


def gaussian(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_latent(height: int, width: int, seed: int, batch: int = 1) -> Tensor:
    """``(batch,4,H,W)`` of about unit variance, with structure larger than a cell as pictures have."""
    coarse = gaussian((batch, CHANNELS, 3, 3), seed)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return smooth + 0.2 * gaussian(smooth.shape, seed + 1)


def capture(
    model: UNetDenoiser,
    x: Tensor,
    sigmas: Tensor,
    method: InversionMethod | None = None,
    groups: Sequence[int] | None = None,
    layers: str = "all",
    dtype: torch.dtype = torch.float64,
    **plan: Any,
) -> list[FeatureBank]:
    """Invert ``x`` along the flipped sampling schedule and keep what every layer saw."""
    up = ascending(sigmas)
    selection = LayerSelection.parse(layers, model.unet.layers)
    recorder = FeatureRecorder(CapturePlan(selection, up, dtype, **plan), groups or (len(x),))
    trajectory = (method or Exact())(model.patched(CapturePatch(recorder)), x, up)
    return recorder.publish(trajectory, FINGERPRINT)


def select(model: UNetDenoiser, text: str = "all") -> LayerSelection:
    return LayerSelection.parse(text, model.unet.layers)


def fusion(
    model: UNetDenoiser,
    rule: FusionRule,
    content: FeatureBank | None,
    style: FeatureBank,
    layers: str | LayerSelection = "all",
    **options: Any,
) -> FusionPatch:
    """A rule on two banks, or on a style alone."""
    banks = {"style": style} if content is None else {"content": content, "style": style}
    return FusionPatch(rule, banks, select(model, layers) if isinstance(layers, str) else layers, **options)


def feature(bank: FeatureBank, step: int, key: LayerKey, like: Tensor) -> Feature:
    """What a bank keeps of a layer at a step."""
    return bank.store.at(step)[key].unpack(like)


def gaussian_denoiser(deviation: float):
    """Exact denoiser of N(0, deviation^2) data; its flow is x(sigma) = x(0) sqrt(1 + (sigma/deviation)^2)."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.view(-1, 1, 1, 1)
        return x * deviation**2 / (deviation**2 + sigma**2)

    return denoise


def mixture_denoiser(centres: Tensor, deviation: float):
    """Exact denoiser of a mixture of equal Gaussians around ``centres (K,C,H,W)``."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        variance = deviation**2 + sigma.view(-1, 1) ** 2
        distance = (x[:, None] - centres).flatten(2).square().sum(2)  # (B,K)
        share = torch.softmax(-distance / (2 * variance), 1)
        mean = (share @ centres.flatten(1)).view_as(x)
        weight = (deviation**2 / variance).view(-1, 1, 1, 1)
        return weight * x + (1 - weight) * mean

    return denoise


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def relative(actual: Tensor, expected: Tensor) -> float:
    """Relative error in the Euclidean norm."""
    return float((actual - expected).norm() / expected.norm())
