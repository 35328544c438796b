"""FFF: the way back from the content's noise, as a node and as parts for the host's own samplers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from torch import Tensor

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core import ddim
from ..magicstyle_core.bank import FeatureBank
from ..magicstyle_core.color import adain, transport
from ..magicstyle_core.dial import StyleStrength
from ..magicstyle_core.methods import Color
from ..magicstyle_core.texture import TextureSwap
from . import host, models
from .running import with_strength
from .types import CATEGORY, Bank, Rule

log = logging.getLogger(__name__)

TEXTURE = 0.75


@dataclass(frozen=True)
class FusedSampling:
    """SAMPLER function: DDIM along a bank's schedule, with its residuals and the style's colours."""

    content: FeatureBank | None = None
    style: FeatureBank | None = None
    detail: float = 1.0
    color: Color = "match"
    color_strength: float = 1.0
    texture: float = TEXTURE

    def at(self, strength: StyleStrength) -> FusedSampling:
        """With weaker colours and fewer pieces."""
        share = strength.look
        return replace(self, color_strength=self.color_strength * share, texture=self.texture * share)

    def __call__(
        self,
        model: Callable[..., Tensor],
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict | None = None,
        callback: Callable[[dict], None] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        if sigmas[0] <= sigmas[-1]:
            raise ValueError("The DDIM Sampler goes from noise to picture. To go up, use DDIM Inversion.")
        on_step = host.step_callback(callback, sigmas)
        residuals = self._residuals(x, sigmas)
        noise, clean = self._style_latents(x, sigmas)
        colors = 0.0 if self.color == "none" else self.color_strength
        swap = None if clean is None else TextureSwap(clean, sigmas, self.texture, colors)
        if self.color == "adain" and noise is not None:
            x = adain(x, noise, self.color_strength)
        x = ddim.sample(host.denoiser(model, extra_args), x, sigmas, residuals, self.detail, on_step, swap)
        if self.color == "match" and clean is not None:
            x = transport(x, clean, self.color_strength)
        return x

    def _style_latents(self, x: Tensor, sigmas: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """The style's latents at the first sigma and at 0, checked before anything runs."""
        if self.style is None or (self.color == "none" and self.texture == 0):
            return None, None
        way = self.style.trajectory
        start = way.start_of(sigmas, "style")
        if way.batch not in (1, len(x)):
            raise ValueError(
                f"The style bank holds {way.batch} images and the sampler runs {len(x)}. "
                "Give one style, or as many as there are portraits."
            )
        return way.latents[start], way.latents[0]

    def _residuals(self, x: Tensor, sigmas: Tensor) -> Tensor | None:
        if self.content is None:
            return None
        way = self.content.trajectory
        residuals = way.residuals_down(way.start_of(sigmas, "content"))
        if way.size != tuple(x.shape[2:]) or way.batch not in (1, len(x)):
            raise ValueError(
                f"The content bank holds {way.batch} latents of {way.size[0]}x{way.size[1]}, the sampler runs "
                f"{len(x)} of {x.shape[2]}x{x.shape[3]}. Sample at the size of the inverted content."
            )
        if residuals is None and self.detail > 0:
            log.info("The content was inverted by %s, which keeps no residuals: detail has no effect.", way.method)
        return residuals


def look_inputs() -> list[io.Input]:
    """Inputs that all samplers share."""
    return [
        io.Float.Input(
            "detail", default=1.0, min=0.0, max=1.0, step=0.05,
            tooltip="How much of the detail that inversion would lose is given back (banks of method exact). Raising it keeps the portrait crisper; 0 is the paper.",
        ),
        io.Combo.Input(
            "color", options=list(get_args(Color)), default="match",
            tooltip="match: give the finished picture the colours and contrast of the style's. adain: start from noise with the mean and deviation of the style's (StyleID, the paper); weaker and flatter. none: do neither; the portrait's colours stay in the main, and Keep Colors brings them back wholly.",
        ),
        io.Float.Input(
            "color_strength", default=1.0, min=0.0, max=1.0, step=0.05,
            tooltip="How far colours move towards the style. 0 keeps the portrait's, 1 takes the style's.",
        ),
    ]


def texture_input(default: float = TEXTURE) -> io.Input:
    """After the other widgets, and optional: workflows saved without it keep their values and still run."""
    return io.Float.Input(
        "texture", default=default, min=0.0, max=1.0, step=0.05, optional=True,
        tooltip="How much of the picture is laid anew from small pieces of the style picture, in the middle of sampling. Raising it brings dots, tiles and parallel lines in order and costs fine features; 0 is the paper.",
    )


def _style_strength() -> io.Input:
    """Optional and after the other widgets, as :func:`texture_input`."""
    return io.Float.Input(
        "style_strength", default=1.0, min=0.0, max=2.0, step=0.05, optional=True,
        tooltip="One dial for the whole style: FFA's strength, color_strength and texture together. 0 gives the portrait back, 1 is what the settings say, above 1 exaggerates brushwork, for colours have arrived. Other values than 0 and 1 compute attention twice.",
    )


class FusedSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_FusedSampler",
            display_name="Fused Sampler (FFF)",
            category=CATEGORY,
            description="Samples the portrait anew from its own noise, on its own schedule. With the FFA Attention Patch "
            "on the model the style comes in; without it the portrait comes back.",
            search_aliases=["fff", "feature fusion forward", "ddim sampler", "style transfer"],
            inputs=[
                io.Model.Input("model", tooltip="The model, usually through FFA Attention Patch."),
                Bank.Input("content_bank", tooltip="Bank of the portrait: its noise, its schedule and its detail."),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=30.0, step=0.1,
                    tooltip="Guidance by the positive prompt. 1 is the paper and the faster; raising it follows the prompt and leaves the portrait.",
                ),
                *look_inputs(),
                io.Int.Input(
                    "start_step", default=0, min=0, max=999,
                    tooltip="Steps to leave out at the noisy end. Raising it keeps more of the portrait and saves time.",
                ),
                texture_input(),
                Bank.Input("style_bank", optional=True, tooltip="Bank of the style picture, for its colours and pieces. Not connected: neither has an effect."),
                io.Conditioning.Input("positive", optional=True, tooltip="Prompt to sample with. Not connected: a context of zeros, as in inversion."),
                io.Conditioning.Input("negative", optional=True, tooltip="Prompt to stay away from, at cfg above 1. Not connected: a context of zeros."),
                _style_strength(),
                Rule.Input("rule", optional=True, tooltip="Start and end as the method of Fusion Rule does: its values replace color, detail, texture and start_step above. Not connected: they hold."),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The stylized portrait, for VAE Decode.")],
        )

    @classmethod
    def execute(
        cls, model, content_bank, cfg, detail, color, color_strength, start_step, texture=TEXTURE,
        style_bank=None, positive=None, negative=None, style_strength=1.0, rule=None,
    ) -> io.NodeOutput:
        if rule is not None and rule.start is not None:
            color, detail, texture, skipped = rule.start
            start_step = round(skipped * content_bank.trajectory.steps)
        sampling = FusedSampling(content_bank, style_bank, detail, color, color_strength, texture)
        samples = way_back(model, sampling, start_step, cfg, style_strength, positive, negative)
        return io.NodeOutput({"samples": samples})


def way_back(
    model: ModelPatcher,
    sampling: FusedSampling,
    start_step: int = 0,
    cfg: float = 1.0,
    style_strength: float = 1.0,
    positive: host.Conditioning | None = None,
    negative: host.Conditioning | None = None,
    progress: host.Progress | None = None,
) -> Tensor:
    """Sample from the noise of the content's bank: latents ``(B,C,H,W)`` as sockets carry them."""
    content = sampling.content
    assert content is not None
    for role, bank in (("content", content), ("style", sampling.style)):
        if bank is not None:
            models.check_model(model, bank, role)
    way = content.trajectory
    if start_step >= way.steps:
        raise ValueError(f"start_step is {start_step}, but the bank has {way.steps} steps. Set it to {way.steps - 1} or less.")
    first = way.steps - start_step
    strength = StyleStrength(style_strength)
    return host.run_sampler(
        with_strength(model, strength.attention),
        sampling.at(strength),
        way.sigmas[: first + 1].flip(0),
        model.model.process_latent_out(way.latents[first]),
        host.checked_conditioning(model, positive),
        host.checked_conditioning(model, negative),
        cfg,
        progress,
    )


class DDIMSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_Sampler",
            display_name="DDIM Sampler",
            category=CATEGORY,
            description="The Fused Sampler's way back as a SAMPLER, for SamplerCustom and SamplerCustomAdvanced. "
            "Give it the schedule of Bank Schedule and the noise of an inversion node, and add no noise.",
            search_aliases=["fff", "ddim", "sampler"],
            inputs=[
                *look_inputs(),
                texture_input(),
                Bank.Input("content_bank", optional=True, tooltip="Bank of the portrait, for its detail. Not connected: plain DDIM."),
                Bank.Input("style_bank", optional=True, tooltip="Bank of the style picture, for its colours and pieces. Not connected: neither has an effect."),
            ],
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustom and SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, detail, color, color_strength, texture=TEXTURE, content_bank=None, style_bank=None) -> io.NodeOutput:
        sampling = FusedSampling(content_bank, style_bank, detail, color, color_strength, texture)
        return io.NodeOutput(comfy.samplers.KSAMPLER(sampling))


class BankSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_Sigmas",
            display_name="Bank Schedule",
            category=CATEGORY,
            description="The noise levels at which a bank was captured, for SamplerCustom and SamplerCustomAdvanced.",
            search_aliases=["sigmas", "scheduler", "feature bank"],
            inputs=[Bank.Input("bank", tooltip="Bank of the portrait.")],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="From noise to picture, ending at 0.")],
        )

    @classmethod
    def execute(cls, bank) -> io.NodeOutput:
        return io.NodeOutput(bank.trajectory.sigmas.flip(0))
