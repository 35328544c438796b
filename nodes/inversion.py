"""CSDI: carry pictures from clean to noise and keep what every self-attention saw (MagicStyle, III)."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.attention import CapturePatch
from ..magicstyle_core.bank import PRECISIONS, FeatureBank, FeatureRecorder, Trajectory, estimate_bytes
from ..magicstyle_core.ddim import Exact, FixedPoint, InversionMethod
from ..magicstyle_core.layers import LayerSelection
from ..magicstyle_core.schedule import ascending
from . import host
from .types import CATEGORY, Bank

log = logging.getLogger(__name__)


def _settings() -> list[io.Input]:
    """Inputs that both inversion nodes share. Widget values are stored by position: append only."""
    return [
        io.Int.Input(
            "steps", default=20, min=1, max=1000,
            tooltip="Steps from clean to noise, and later back. More steps reconstruct better and take more time and memory, in proportion.",
        ),
        io.Combo.Input(
            "scheduler", options=comfy.samplers.SCHEDULER_NAMES, default="ddim_uniform",
            tooltip="Spacing of the noise levels. ddim_uniform is the paper's. The Fused Sampler reuses what is chosen here.",
        ),
        io.Combo.Input(
            "method", options=["exact", "ddim", "fixed_point"], default="exact",
            tooltip="exact: keeps the small error of each step, so that the picture comes back to rounding; one evaluation more than ddim in all. "
            "ddim: the paper's inversion. fixed_point: refines every step, at one evaluation for each iteration.",
        ),
        io.String.Input(
            "layers", default="high-res decoder",
            tooltip="Self-attention layers to keep: high-res decoder, decoder, all, none, or addresses such as 'output.6-11, middle'. "
            "More layers carry more of the style and take more memory.",
        ),
        io.Combo.Input(
            "storage", options=["cpu", "gpu"], default="cpu",
            tooltip="Where features are kept. gpu saves the transfers and takes VRAM.",
        ),
        io.Combo.Input(
            "precision", options=list(PRECISIONS), default="fp16", advanced=True,
            tooltip="Number type of kept features. fp16 changes attention by about 0.1 percent; fp32 doubles the memory.",
        ),
        io.Int.Input(
            "iterations", default=1, min=1, max=10, advanced=True,
            tooltip="Only for fixed_point: evaluations spent on refining each step. More bring the picture back more closely.",
        ),
        io.Conditioning.Input(
            "conditioning", optional=True,
            tooltip="What the model is told about the picture, without guidance. An empty prompt is usual on real checkpoints; nothing connected means a context of zeros.",
        ),
    ]


class ContentStyleInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_CSDI",
            display_name="Content + Style Inversion (CSDI)",
            category=CATEGORY,
            description="Finds the noise that regenerates the portrait and the style picture, and keeps what "
            "self-attention saw of both on the way. Pictures of one size are inverted together in one batch.",
            search_aliases=["ddim inversion", "csdi", "style transfer", "style reference", "unsampler"],
            inputs=[
                io.Model.Input("model", tooltip="SD 1.x, 2.x or SDXL; the model that you will sample with, without FFA."),
                io.Latent.Input("content", tooltip="The portrait to repaint, encoded by VAE Encode. A batch of portraits works."),
                io.Latent.Input("style", tooltip="The picture whose manner is wanted, encoded by VAE Encode. One picture, or as many as portraits; it may have another size."),
                *_settings(),
            ],
            outputs=[
                Bank.Output(display_name="content_bank", tooltip="Trajectory and features of the portrait."),
                Bank.Output(display_name="style_bank", tooltip="Trajectory and features of the style picture."),
                io.Latent.Output(display_name="noise", tooltip="The portrait as noise. Sample from it without adding noise (Fused Sampler does this by itself)."),
            ],
        )

    @classmethod
    def execute(
        cls, model, content, style, steps, scheduler, method, layers, storage, precision, iterations, conditioning=None
    ) -> io.NodeOutput:
        job = InversionJob(model, steps, scheduler, _method(method, iterations), layers, storage, precision, conditioning)
        portrait, picture = host.latent_of(model, content, "content"), host.latent_of(model, style, "style")
        if portrait.shape[2:] == picture.shape[2:]:
            (content_bank, style_bank), noise = job.run(torch.cat([portrait, picture.to(portrait)]), (len(portrait), len(picture)))
        else:
            (content_bank,), noise = job.run(portrait, (len(portrait),))
            (style_bank,), _ = job.run(picture, (len(picture),))
        return io.NodeOutput(content_bank, style_bank, _latent(content, noise[: len(portrait)]))


class DDIMInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_Invert",
            display_name="DDIM Inversion",
            category=CATEGORY,
            description="Finds the noise that regenerates a picture, and keeps what self-attention saw on the way. "
            "Use it to invert a style once for many portraits, with the same steps and scheduler as the portraits.",
            search_aliases=["ddim inversion", "unsampler", "feature bank", "style reference"],
            inputs=[
                io.Model.Input("model", tooltip="SD 1.x, 2.x or SDXL; the model that you will sample with, without FFA."),
                io.Latent.Input("latent", tooltip="The picture to invert, encoded by VAE Encode. A batch works."),
                *_settings(),
            ],
            outputs=[
                Bank.Output(display_name="bank", tooltip="Trajectory and features of the picture."),
                io.Latent.Output(display_name="noise", tooltip="The picture as noise. Sample from it without adding noise."),
            ],
        )

    @classmethod
    def execute(
        cls, model, latent, steps, scheduler, method, layers, storage, precision, iterations, conditioning=None
    ) -> io.NodeOutput:
        job = InversionJob(model, steps, scheduler, _method(method, iterations), layers, storage, precision, conditioning)
        samples = host.latent_of(model, latent, "input")
        (bank,), noise = job.run(samples, (len(samples),))
        return io.NodeOutput(bank, _latent(latent, noise))


def _method(name: str, iterations: int) -> InversionMethod:
    return {"exact": Exact(), "ddim": FixedPoint(0), "fixed_point": FixedPoint(iterations)}[name]


def _latent(source: dict, samples: Tensor) -> dict:
    """A LATENT like ``source`` with other samples; a noise mask has no meaning for an inverted latent."""
    return {**{key: value for key, value in source.items() if key != "noise_mask"}, "samples": samples}


class InversionJob:
    """The settings of one inversion, checked once, to run on one or two batches."""

    def __init__(
        self,
        model: ModelPatcher,
        steps: int,
        scheduler: str,
        method: InversionMethod,
        layers: str,
        storage: str,
        precision: str,
        conditioning: list | None,
    ) -> None:
        self.fingerprint = host.fingerprint(model)
        self.layers = LayerSelection.parse(layers, host.attention_layers(model))
        self.sigmas = ascending(host.schedule(model, scheduler, steps))
        self.method = method
        self.device = torch.device("cpu") if storage == "cpu" else None
        self.dtype = PRECISIONS[precision]
        self.conditioning = host.checked_conditioning(model, conditioning)
        self.model = host.with_calls(host.without_guidance(model))

    def run(self, latent: Tensor, groups: tuple[int, ...]) -> tuple[list[FeatureBank], Tensor]:
        """Invert ``latent (B,C,H,W)``: a bank for each group of images, and the noise ``(B,C,H,W)``."""
        size = (latent.shape[2], latent.shape[3])
        expected = estimate_bytes(self.layers, len(self.sigmas) - 1, len(latent), size, self.dtype)
        log.info("Keeping %s for %d steps: about %.1f MB.", self.layers, len(self.sigmas) - 1, expected / 1e6)
        recorder = FeatureRecorder(self.layers, self.sigmas, groups, self.dtype, self.device)
        model = self.model.clone()
        model.set_model_attn1_patch(CapturePatch(recorder))
        trajectory: Trajectory | None = None

        def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
            nonlocal trajectory
            on_step = host.step_callback(callback, sigmas)
            trajectory = self.method(host.denoiser(model, extra_args), x, sigmas, on_step)
            return trajectory.latents[-1].to(x)

        noise = host.run_sampler(model, sampler, self.sigmas, latent, self.conditioning)
        if trajectory is None or not bool(trajectory.latents.isfinite().all()):
            raise ValueError(
                "Inversion ended in NaN or infinite values. Run the model in another precision (for example "
                "--force-fp32), or remove what patches it."
            )
        return recorder.publish(trajectory, self.fingerprint), noise
