"""The ablation of the paper's Fig. 5: one portrait under many settings, from one inversion."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor

import latent_preview
from comfy_api.latest import io

from ..magicstyle_core.fusion import FeatureFusion
from ..magicstyle_core.methods import METHODS, Method
from .fusion import FFAAttentionPatch, fuse
from .grid import labelled_grid
from .rules import DIALS
from .sampling import FusedSampling, look_inputs, texture_input, way_back
from .types import CATEGORY, Bank

MOST = 64
# The paper's own queries, which lie where the style has them: beta shows most with these.
DEFAULT = "\n".join(
    ["Standard attention", *(f"queries=stored beta={beta:g}  # beta {beta:g}" for beta in (0, 0.2, 0.4, 0.6, 0.8, 1))]
)


class Setting(NamedTuple):
    """A line of the list: what FFA is set to, the ``method`` that a rule would give, and the text over its column."""

    label: str
    values: dict[str, Any]
    method: Method | None = None


def parse(text: str) -> list[Setting]:
    """Settings of a text, one a line; what follows a # is the label. ``ValueError`` names the line that cannot be read."""
    numbered = enumerate(text.splitlines(), 1)
    settings = [_parse_line(number, line) for number, line in numbered if line.partition("#")[0].strip()]
    if not 1 <= len(settings) <= MOST:
        raise ValueError(
            f"settings holds {len(settings)} lines; 1 to {MOST} are needed. Write one setting a line, such as 'beta=0.4' or "
            "'Standard attention'."
        )
    return settings


def _parse_line(number: int, line: str) -> Setting:
    """``name=value name=value`` of FFA Attention Patch, or ``method`` or ``method: dial=value`` of Fusion Rule."""
    line, _, label = (part.strip() for part in line.partition("#"))
    name, _, dials = line.partition(":")
    methods = {known.lower(): make for known, make in METHODS.items()}
    try:
        make = methods.get(name.strip().lower())
        if make is None:
            return Setting(label or line, _values(line))
        known = set(inspect.signature(make).parameters)
        return Setting(label or line, _values(""), make(**{key: _dial(key, value, known) for key, value in _pairs(dials)}))
    except ValueError as error:
        raise ValueError(f"Line {number} of settings, '{line}': {error}") from error


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise ValueError(
                f"'{word}' is not name=value. Write for example 'beta=0.4 keys=style', or a method of Fusion Rule: "
                f"{', '.join(METHODS)}."
            )
        found.append((name.lower(), value))
    return found


def _dial(name: str, value: str, known: set[str]) -> float:
    if name not in known:
        raise ValueError(f"'{name}' is not a dial of this method; it has {', '.join(sorted(known)) or 'none'}.")
    low, high, _ = DIALS[name]
    return _number(name, value, low, high)


def _number(name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"{name} needs a number; got '{value}'.") from error
    if not low <= number <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {value}.")
    return number


def _widgets() -> dict[str, io.Input]:
    """Widgets of FFA Attention Patch by name."""
    inputs = FFAAttentionPatch.define_schema().inputs
    return {widget.id: widget for widget in inputs if isinstance(widget, io.Float.Input | io.Combo.Input | io.String.Input)}


def _values(line: str) -> dict[str, Any]:
    """All settings of FFA Attention Patch: the line's, and the defaults of the others."""
    widgets, given = _widgets(), {}
    for name, value in _pairs(line):
        widget = widgets.get(name)
        if widget is None:
            raise ValueError(f"'{name}' is not an input of FFA Attention Patch; it has {', '.join(widgets)}.")
        if isinstance(widget, io.Float.Input):
            given[name] = _number(name, value, widget.min, widget.max)
        elif isinstance(widget, io.Combo.Input) and value not in widget.options:
            raise ValueError(f"{name} must be one of {', '.join(widget.options)}; got '{value}'.")
        else:
            given[name] = value
    for one, other in (("alpha", "beta"), ("beta", "alpha")):
        if one in given:
            given.setdefault(other, 1 - given[one])
    values = {name: widget.default for name, widget in widgets.items()} | given
    FeatureFusion(values["alpha"], values["beta"])  # which says so if they do not sum to 1
    return values


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
                    tooltip="One setting a line: inputs of FFA Attention Patch as name=value (alpha follows beta), or a method of Fusion Rule, as 'StyleID: gamma=0.5'. What follows a # is the label. Every line costs one sampling run.",
                ),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=30.0, step=0.1,
                    tooltip="Guidance by the positive prompt, for all settings. 1 is the paper and the faster.",
                ),
                *look_inputs(),
                io.Int.Input(
                    "start_step", default=0, min=0, max=999,
                    tooltip="Steps to leave out at the noisy end, for all settings. Raising it keeps more of the portrait and saves time.",
                ),
                texture_input(0.0),  # so that only attention differs from one column to the next
                io.Conditioning.Input("positive", optional=True, tooltip="Prompt to sample with. Not connected: a context of zeros, as in inversion."),
                io.Conditioning.Input("negative", optional=True, tooltip="Prompt to stay away from, at cfg above 1. Not connected: a context of zeros."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The pictures, setting by setting; of a batch all portraits under the first setting come first."),
                io.Image.Output(display_name="grid", tooltip="One picture: a column for the portrait, the style and each setting, a row for each portrait."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, vae, content_bank, style_bank, settings, cfg, detail, color, color_strength, start_step,
        texture=0.0, positive=None, negative=None,
    ) -> io.NodeOutput:
        listed = parse(settings)
        # All are patched before the first one runs, so that a setting that cannot be is refused at once.
        models = [fuse(model, content_bank, style_bank, setting.method, **setting.values) for setting in listed]
        sampling = FusedSampling(content_bank, style_bank, detail, color, color_strength, texture)
        steps = content_bank.trajectory.steps - start_step
        show = latent_preview.prepare_callback(model, steps * len(listed))
        drawn = []
        for number, patched in enumerate(models):

            def progress(step, x0, x, total, done=number * steps):
                show(done + step, x0, x, steps * len(listed))

            drawn.append(_decoded(vae, way_back(patched, sampling, start_step, cfg, 1.0, positive, negative, progress)))
        portraits, styles = (
            _decoded(vae, model.model.process_latent_out(bank.trajectory.latents[0])) for bank in (content_bank, style_bank)
        )
        rows = [
            [portraits[i], styles[i % len(styles)], *(images[i] for images in drawn)] for i in range(len(portraits))
        ]
        grid = labelled_grid(["portrait", "style", *(setting.label for setting in listed)], rows)
        return io.NodeOutput(torch.cat(drawn), grid)


def _decoded(vae: Any, latent: Tensor) -> Tensor:
    """IMAGE ``(B,H,W,3)`` of latents."""
    return vae.decode(latent)[..., :3].float().cpu()
