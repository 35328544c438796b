"""FFF: the way back from the content's noise, as a node and as parts for the host's own samplers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.bank.bank import FeatureBank
from ..magicstyle_core.sampling.fff import Color, FeatureFusionForward, Look, StyleStrength
from ..magicstyle_core.sampling.texture import laid_steps
from .host import attention, host, inputs, running, start
from .host.fingerprint import check_model
from .types import CATEGORY, Bank

log = logging.getLogger(__name__)

AS_METHOD, OWN = "as the method", "own"
NO_TEXTURE = "This part of the schedule leaves out the middle of the way, where pieces are laid: texture has no effect."
UNPATCHED = "A style bank is connected, but the model has no FFA Attention Patch: only its colours and pieces come in."


@dataclass(frozen=True)
class FusedSampling:
    """SAMPLER function: DDIM along a bank's schedule, with its residuals and the style's colours and pieces.

    ``look`` None is that of the method on the model.
    """

    content: FeatureBank | None = None
    style: FeatureBank | None = None
    look: Look | None = None
    strength: StyleStrength = StyleStrength()

    def __call__(
        self,
        model: Callable[..., Tensor],
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict | None = None,
        callback: Callable[[dict], None] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        model_options = (extra_args or {}).get("model_options", {})
        running.set_strength(model_options, self.strength)
        options = model_options.get("transformer_options", {})
        look = self.look or attention.look_of(options)
        if self.style is not None and not attention.fusion_patches(options):
            log.info(UNPATCHED)
        if self.content is not None and self.content.trajectory.noise is None and look.detail > 0:
            method = self.content.trajectory.method
            log.info("The content was inverted by %s, which keeps no residuals: detail has no effect.", method)
        ways = (None if bank is None else bank.trajectory for bank in (self.content, self.style))
        if self.style is not None and look.texture and not laid_steps(sigmas):
            log.info(NO_TEXTURE)
        self._check_ends(x, sigmas, (extra_args or {}).get("denoise_mask") is not None)
        forward = FeatureFusionForward(*ways, look.at(self.strength))
        return forward(host.denoiser(model, extra_args), x, sigmas, callback)


    def _check_ends(self, x: Tensor, sigmas: Tensor, masked: bool) -> None:
        """``ValueError`` unless it goes from the content's noise, as it is, to the picture."""
        if sigmas[-1] > 0:
            raise ValueError(
                f"The DDIM Sampler finishes the picture, so its schedule must end at 0; this one ends at {sigmas[-1]:.4g}. "
                "Of a split schedule give it the last part, and the first part to another sampler (euler)."
            )
        if self.content is None or x.shape[1:] != self.content.trajectory.latents.shape[2:]:
            return
        noise = self.content.trajectory.latents[-1]
        if len(noise) not in (1, len(x)):
            return  # refused by name later
        if masked and start.likeness(x, noise.to(x).expand_as(x)) > start.SAME:
            raise ValueError(start.MASKED)
        if start.was_added_to(x, noise.to(x).expand_as(x), float(sigmas[0])):
            raise ValueError(start.ADDED)


def look_input(first: str = AS_METHOD, texture: float = Look().texture) -> io.Input:
    """How sampling starts and ends: as the method on the model does, or by dials of its own. ``first`` is the default."""
    look = Look()
    dials = [
        io.Combo.Input(
            "color", options=list(get_args(Color)), default=look.color,
            tooltip="match: give the finished picture the colours and contrast of the style's. adain: start from noise with the mean and deviation of the style's (StyleID, the paper); weaker and flatter. none: do neither; the portrait's colours stay in the main, and Keep Colors brings them back wholly.",
        ),
        io.Float.Input(
            "color_strength", default=look.color_strength, min=0.0, max=1.0, step=0.05,
            tooltip="How far colours move towards the style. 0 keeps the portrait's, 1 takes the style's.",
        ),
        io.Float.Input(
            "detail", default=look.detail, min=0.0, max=1.0, step=0.05,
            tooltip="How much of the detail that inversion would lose is given back (banks of method exact). Raising it keeps the portrait crisper; 0 is the paper.",
        ),
        io.Float.Input(
            "texture", default=texture, min=0.0, max=1.0, step=0.05,
            tooltip="How much of the picture is laid anew from small pieces of the style picture, in the middle of sampling. Raising it brings dots, tiles and parallel lines in order and costs fine features; 0 is the paper.",
        ),
        io.Int.Input(
            "start_step", default=0, min=0, max=999,
            tooltip="Steps to leave out at the noisy end. Raising it keeps more of the portrait and saves time.",
        ),
    ]  # fmt: skip
    options = {AS_METHOD: [], OWN: dials}
    return io.DynamicCombo.Input(
        "look", options=[io.DynamicCombo.Option(name, options[name]) for name in sorted(options, key=lambda o: o != first)],
        tooltip="How sampling starts and ends. as the method: as the last FFA Attention Patch on the model says. own: by the dials that then come below.",
    )  # fmt: skip


def own_look(chosen: Mapping[str, Any], steps: int | None) -> Look | None:
    """What :func:`look_input` says, on a way of ``steps``; None is the method's."""
    if chosen["look"] == AS_METHOD:
        return None
    dials = {name: value for name, value in chosen.items() if name not in ("look", "start_step")}
    first = chosen["start_step"]
    if first and steps is None:
        raise ValueError(f"start_step is {first}, which needs the portrait's bank. Connect content_bank, or set it to 0.")
    if steps is not None and first >= steps:
        raise ValueError(f"start_step is {first}, but the bank has {steps} steps. Set it to {steps - 1} or less.")
    return Look(**dials, skipped=first / steps if steps else 0.0)


def style_strength_input() -> io.Input:
    return io.Float.Input(
        "style_strength", default=1.0, min=0.0, max=2.0, step=0.05,
        tooltip="One dial for the whole style: FFA's strength, color_strength and texture together. 0 gives the portrait back, 1 is what the settings say, above 1 exaggerates brushwork, for colours have arrived. Other values than 0 and 1 compute attention twice.",
    )  # fmt: skip


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
                look_input(),
                style_strength_input(),
                Bank.Input("style_bank", optional=True, tooltip="Bank of the style picture, for its colours and pieces. Not connected: neither has an effect."),
                io.Conditioning.Input("positive", optional=True, tooltip="Prompt to sample with. Not connected: a context of zeros, as in inversion."),
                io.Conditioning.Input("negative", optional=True, tooltip="Prompt to stay away from, at cfg above 1. Not connected: a context of zeros."),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The stylized portrait, for VAE Decode.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, content_bank, cfg, look, style_strength, style_bank=None, positive=None, negative=None
    ) -> io.NodeOutput:
        own = own_look(look, content_bank.trajectory.steps)
        sampling = FusedSampling(content_bank, style_bank, own, StyleStrength(style_strength))
        return io.NodeOutput({"samples": way_back(model, sampling, cfg, positive, negative)})


def way_back(
    model: ModelPatcher,
    sampling: FusedSampling,
    cfg: float = 1.0,
    positive: inputs.Conditioning | None = None,
    negative: inputs.Conditioning | None = None,
    progress: host.Progress | None = None,
) -> Tensor:
    """Sample from the noise of the content's bank: latents ``(B,C,H,W)`` as sockets carry them."""
    content = sampling.content
    assert content is not None
    check_model(model, {"content": content, "style": sampling.style})
    way = content.trajectory
    return host.run_sampler(
        model,
        sampling,
        way.sigmas.flip(0),
        model.model.process_latent_out(way.latents[-1]),
        inputs.checked_conditioning(model, positive),
        inputs.checked_conditioning(model, negative),
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
                look_input(),
                style_strength_input(),
                Bank.Input("content_bank", optional=True, tooltip="Bank of the portrait, for its detail and start_step. Not connected: plain DDIM."),
                Bank.Input("style_bank", optional=True, tooltip="Bank of the style picture, for its colours and pieces. Not connected: neither has an effect."),
            ],
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustom and SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, look, style_strength, content_bank=None, style_bank=None) -> io.NodeOutput:
        own = own_look(look, None if content_bank is None else content_bank.trajectory.steps)
        sampling = FusedSampling(content_bank, style_bank, own, StyleStrength(style_strength))
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
