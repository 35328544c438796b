"""CSDI: carry pictures from clean to noise and keep what every self-attention saw (MagicStyle, III)."""

from __future__ import annotations

from contextlib import closing
from typing import get_args

import torch
from torch import Tensor

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.bank.bank import FeatureBank
from ..magicstyle_core.bank.features import PRECISIONS
from ..magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from ..magicstyle_core.bank.storage import FeatureWriter
from ..magicstyle_core.bank.trajectory import Trajectory
from ..magicstyle_core.fusion.attention import CapturePatch
from ..magicstyle_core.layers import LayerSelection
from ..magicstyle_core.sampling.ddim import Exact, FixedPoint, InversionMethod
from ..magicstyle_core.schedule import ascending
from .checking import printable
from .host import host, inputs, memory, models
from .host.attention import Hook, check_unfused
from .host.fingerprint import fingerprint
from .host.running import with_run
from .types import CATEGORY, Bank

METHODS: dict[str, InversionMethod] = {"exact": Exact(), "ddim": FixedPoint(0), "fixed_point": FixedPoint(1)}
# Leaves out the last of 20 steps: without its features a picture of the demo model differs by 45 dB (mean of twelve).
END_PERCENT = 0.99


def _settings() -> list[io.Input]:
    """Inputs that both inversion nodes share."""
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
            "method", options=list(METHODS), default="exact",
            tooltip="exact: keeps the small error of each step, so that the picture comes back to rounding; one evaluation more than ddim in all. "
            "ddim: the paper's inversion. fixed_point: refines every step once, at one evaluation more a step.",
        ),
        io.String.Input(
            "layers", default="high-res decoder",
            tooltip="Self-attention layers to keep: high-res decoder, decoder, all, none, or addresses such as 'output.6-11, middle'. "
            "More layers carry more of the style and take more memory.",
        ),
        io.Combo.Input(
            "storage", options=list(get_args(memory.Tier)), default="auto",
            tooltip="Where features are kept. auto: the fastest of gpu, cpu and disk that has room. disk: a file in the temp folder. "
            "recompute: nowhere; they are computed again at every step of sampling, which takes about three times as long and no memory.",
        ),
        io.Combo.Input(
            "precision", options=list(PRECISIONS), default="fp16", advanced=True,
            tooltip="Number type of kept features. fp16 changes attention by about 0.01 percent; fp32 doubles the memory. "
            "int8 halves it and changes attention by about 0.2 percent.",
        ),
        io.Int.Input(
            "keep_every", default=1, min=1, max=100, advanced=True, optional=True,
            tooltip="2 keeps the features of every second step, 3 of every third, and so on; steps between read the nearest kept one. Raising it saves memory in proportion and blurs the style's texture a little.",
        ),
        io.Float.Input(
            "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, advanced=True, optional=True,
            tooltip="Where in sampling kept features begin. Raising it saves memory; the steps before cannot be fused then.",
        ),
        io.Float.Input(
            "end_percent", default=END_PERCENT, min=0.0, max=1.0, step=0.01, advanced=True, optional=True,
            tooltip="Where in sampling kept features end. Lowering it saves memory; the steps after cannot be fused then. The last step changes the picture too little to be worth its features, hence 0.99.",
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
                io.Boolean.Input(
                    "keep_content", default=True, advanced=True, optional=True,
                    tooltip="Keep the portrait's features too. Off saves half the memory, for methods of FFA that read only the style's (MasaCtrl, Visual Style Prompting, StyleAligned); FFA says so if it needs more.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                Bank.Output(display_name="content_bank", tooltip="Trajectory and features of the portrait."),
                Bank.Output(display_name="style_bank", tooltip="Trajectory and features of the style picture."),
                io.Latent.Output(display_name="noise", tooltip="The portrait as noise. Sample from it without adding noise (Fused Sampler does this by itself)."),
            ],
        )

    @classmethod
    def validate_inputs(cls, layers=None, start_percent=None, end_percent=None) -> bool | str:
        return _fault(layers, start_percent, end_percent)

    @classmethod
    def execute(cls, model, content, style, keep_content=True, conditioning=None, **settings) -> io.NodeOutput:
        job = InversionJob(model, conditioning, "content and style", node=host.running_node(cls), **settings)
        portrait, picture = inputs.latent_of(model, content, "content"), inputs.latent_of(model, style, "style")
        if len(picture) not in (1, len(portrait)):
            raise ValueError(
                f"There are {len(picture)} style pictures for {len(portrait)} portraits. Give one, or one for each "
                "portrait."
            )
        if portrait.shape[2:] == picture.shape[2:]:
            together = torch.cat([portrait, picture.to(portrait)])
            (content_bank, style_bank), noise = job.run(together, (len(portrait), len(picture)), (keep_content, True))
        else:
            (content_bank,), noise = job.run(portrait, (len(portrait),), (keep_content,))
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
            hidden=[io.Hidden.unique_id],
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
    def validate_inputs(cls, layers=None, start_percent=None, end_percent=None) -> bool | str:
        return _fault(layers, start_percent, end_percent)

    @classmethod
    def execute(cls, model, latent, conditioning=None, **settings) -> io.NodeOutput:
        job = InversionJob(model, conditioning, node=host.running_node(cls), **settings)
        samples = inputs.latent_of(model, latent, "input")
        (bank,), noise = job.run(samples, (len(samples),))
        return io.NodeOutput(bank, _latent(latent, noise))


def _fault(layers: str | None, start_percent: float | None, end_percent: float | None) -> bool | str:
    """True, or what is wrong before anything runs."""
    try:
        inputs.check_choices(layers, start_percent, end_percent)
    except ValueError as error:
        return printable(str(error))
    return True


def _latent(source: inputs.Latent, samples: Tensor) -> inputs.Latent:
    """A LATENT like ``source`` with other samples."""
    return {**source, "samples": samples}


class InversionJob:
    """The settings of one inversion, checked once, to run on one or two batches.

    ``pictures`` names them if they are of more than one kind.
    """

    def __init__(
        self,
        model: ModelPatcher,
        conditioning: inputs.Conditioning | None,
        pictures: str = "",
        *,
        steps: int,
        scheduler: str,
        method: str,
        layers: str,
        storage: memory.Tier,
        precision: str,
        keep_every: int = 1,
        start_percent: float = 0.0,
        end_percent: float = END_PERCENT,
        node: str | None = None,
    ) -> None:
        check_unfused(model, "Inversion follows the bare model; connect the model from before it.")
        self.fingerprint = fingerprint(model)
        self.plan = CapturePlan(
            LayerSelection.parse(layers, models.attention_layers(model)),
            ascending(host.schedule(model, scheduler, steps)),
            PRECISIONS[precision],
            keep_every,
            host.window(model, start_percent, end_percent),
        )
        self.method = METHODS[method]
        self.tier = storage
        self.conditioning = inputs.inverted_conditioning(model, conditioning, pictures)
        self.recomputed = inputs.recomputed(self.conditioning) if storage == "recompute" else None
        self.model = with_run(host.without_guidance(model))
        self.node = node

    def run(
        self, latent: Tensor, groups: tuple[int, ...], keep: tuple[bool, ...] | None = None
    ) -> tuple[list[FeatureBank], Tensor]:
        """Invert ``latent (B,C,H,W)``: a bank for each group of images, and the noise ``(B,C,H,W)``.

        ``keep`` says of which groups the features are kept; None of all.
        """
        keep = keep or (True,) * len(groups)
        size = (latent.shape[2], latent.shape[3])
        kept = sum(count for count, wanted in zip(groups, keep, strict=True) if wanted)
        storage = memory.choose(self.model, self.tier, self.plan, kept, size, self.node)

        def new_writer(group: int) -> FeatureWriter | None:
            if not keep[group]:
                return None
            if self.recomputed is not None:
                return self.recomputed
            return memory.new_writer(storage, self.plan, groups[group], size, self.model.load_device)

        with closing(FeatureRecorder(self.plan, groups, new_writer)) as recorder:
            trajectory, noise = self._invert(latent, recorder)
            return recorder.publish(trajectory, self.fingerprint, self._thumbnail), noise

    def _invert(self, latent: Tensor, recorder: FeatureRecorder) -> tuple[Trajectory, Tensor]:
        model = self.model.clone()
        model.set_model_attn1_patch(Hook(CapturePatch(recorder)))
        trajectory: Trajectory | None = None

        def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
            nonlocal trajectory
            trajectory = self.method(host.denoiser(model, extra_args), x, sigmas, callback)
            return trajectory.latents[-1].to(x)

        noise = host.run_sampler(model, sampler, self.plan.sigmas, latent, self.conditioning)
        assert trajectory is not None
        return trajectory, noise

    def _thumbnail(self, way: Trajectory) -> Tensor | None:
        return models.thumbnail(self.model, way.latents[0])
