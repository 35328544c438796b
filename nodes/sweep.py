"""The ablation of the paper's Fig. 5: one portrait under many settings, from one inversion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.bank.bank import FeatureBank
from .checking import printable
from .fusion import fuse
from .grid import labelled_grid
from .host.attention import check_unfused
from .sampling import OWN, FusedSampling, look_input, own_look, way_back
from .settings import Setting, parse
from .types import CATEGORY, Bank

# The paper's own queries, which lie where the style has them: beta shows most with these.
DEFAULT = "\n".join(
    ["Standard attention", *(f"queries=stored beta={beta:g}  # beta {beta:g}" for beta in (0, 0.2, 0.4, 0.6, 0.8, 1))]
)

MOST = 1024  # pictures: they stay in memory until the last is drawn


class AlphaBetaSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_Sweep",
            display_name="Alpha / Beta Sweep",
            category=CATEGORY,
            description="One portrait under a list of settings, from one inversion: the pictures, and a labelled grid of them. "
            "The list it comes with is the paper's ablation, from standard attention to beta 1.",
            search_aliases=["ablation", "grid", "xy plot", "compare methods", "alpha beta"],
            inputs=[
                io.Model.Input("model", tooltip="The model that both banks were captured on, without FFA Attention Patch: the sweep patches it."),
                io.Vae.Input("vae", tooltip="The VAE that the pictures were encoded with."),
                Bank.Input("content_bank", tooltip="Bank of the portrait. A batch makes a row of the grid for each."),
                Bank.Input("style_bank", tooltip="Bank of the style picture."),
                io.String.Input(
                    "settings", default=DEFAULT, multiline=True,
                    tooltip="One setting a line: inputs of FFA Attention Patch and dials of its custom method as name=value (alpha follows beta), or a method, as 'StyleID: gamma=0.5'. What follows a # is the label. Every line costs one sampling run.",
                ),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=30.0, step=0.1,
                    tooltip="Guidance by the positive prompt, for all settings. 1 is the paper and the faster.",
                ),
                look_input(OWN, texture=0.0),  # so that only attention differs from one column to the next
                io.Conditioning.Input("positive", optional=True, tooltip="Prompt to sample with. Not connected: a context of zeros, as in inversion."),
                io.Conditioning.Input("negative", optional=True, tooltip="Prompt to stay away from, at cfg above 1. Not connected: a context of zeros."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The pictures, setting by setting; of a batch all portraits under the first setting come first."),
                io.Image.Output(display_name="grid", tooltip="One picture: a column for the portrait, the style and each setting, a row for each portrait."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, settings=None, *, look=None) -> bool | str:
        """Refuses a list that cannot be read before the inversion runs; None is linked and read when it arrives.

        The host hands over ``look`` unasked, without its values; by keyword alone it checks these itself.
        """
        try:
            if settings is not None:
                parse(settings)
        except ValueError as error:
            return printable(str(error))
        return True

    @classmethod
    def execute(
        cls, model, vae, content_bank, style_bank, settings, cfg, look, positive=None, negative=None
    ) -> io.NodeOutput:
        listed = parse(settings)
        check_unfused(model, "Connect the model from before it: the sweep patches it for each setting.")
        _check_count(len(listed), content_bank.trajectory.batch)
        # All are patched before the first one runs, so that a setting that cannot be is refused at once.
        models = [_patched(model, content_bank, style_bank, setting) for setting in listed]
        steps = content_bank.trajectory.steps
        sampling = FusedSampling(content_bank, style_bank, own_look(look, steps))
        show = latent_preview.prepare_callback(model, steps * len(listed))
        drawn = []
        for number, patched in enumerate(models):

            def progress(step, x0, x, total, done=number * steps):
                show(done + step, x0, x, steps * len(listed))

            drawn.append(_decoded(vae, way_back(patched, sampling, cfg, positive, negative, progress)))
        portraits, styles = (
            _decoded(vae, model.model.process_latent_out(bank.trajectory.latents[0])) for bank in (content_bank, style_bank)
        )
        rows = [
            [portraits[i], styles[i % len(styles)], *(images[i] for images in drawn)] for i in range(len(portraits))
        ]
        grid = labelled_grid(["portrait", "style", *(setting.label for setting in listed)], rows)
        return io.NodeOutput(torch.cat(drawn), grid)


def _check_count(settings: int, portraits: int) -> None:
    if settings * portraits > MOST:
        raise ValueError(
            f"{settings} settings of {portraits} portraits are {settings * portraits} pictures; at most {MOST} go into one "
            "grid. Leave out settings, or invert fewer portraits at a time."
        )


def _patched(model: ModelPatcher, content: FeatureBank, style: FeatureBank, setting: Setting) -> ModelPatcher:
    try:
        return fuse(model, style, content, setting.method, setting.dials, **setting.inputs)
    except ValueError as error:
        raise ValueError(f"{error} (At {setting}.)") from error


def _decoded(vae: Any, latent: Tensor) -> Tensor:
    """IMAGE ``(B,H,W,3)`` of latents."""
    return vae.decode(latent)[..., :3].float().cpu()
