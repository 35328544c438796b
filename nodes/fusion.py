"""Fused attention as a node: a method and its dials, put on a model as patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.bank.bank import FeatureBank
from ..magicstyle_core.fusion.attention import FusionPatch, Rows
from ..magicstyle_core.fusion.base import CONTENT, STYLE
from ..magicstyle_core.layers import PRESETS, LayerSelection, describe
from ..magicstyle_core.methods import CUSTOM, METHODS, Dial, Method, Part
from ..magicstyle_core.schedule import SIGMA_TOLERANCE, format_sigmas
from .checking import printable
from .host import host, inputs
from .host.attention import Hook
from .host.fingerprint import check_model
from .host.running import with_run
from .types import CATEGORY, Bank

Banks = Mapping[str, FeatureBank]
UNCONNECTED = "not connected"


def offered() -> dict[str, Method]:
    """All methods by name, as the node lists them."""
    return {**METHODS, **CUSTOM}


def _widget(dial: Dial) -> io.Input:
    if dial.choices:
        return io.Combo.Input(dial.name, options=list(dial.choices), default=dial.default, tooltip=dial.text)
    return io.Float.Input(dial.name, default=dial.default, min=dial.low, max=dial.high, step=0.01, tooltip=dial.text)


def method_input() -> io.Input:
    """The methods, each with its own dials."""
    options = [io.DynamicCombo.Option(name, list(map(_widget, method.dials))) for name, method in offered().items()]
    return io.DynamicCombo.Input(
        "method", options=options,
        tooltip="How the style is read; its dials come below, at the values that its authors published. It also says on which "
        "layers and in which part of the way it acts, and how sampling starts and ends. Custom: every dial of one attention.",
    )  # fmt: skip


class FFAAttentionPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_FFA",
            display_name="FFA Attention Patch",
            category=CATEGORY,
            description="Feature Fusion Attention: while the model samples, its self-attention reads the keys and values kept of the "
            "style. With a portrait it asks with a mix of the portrait's and the style's queries; without one, with the running image's.",
            search_aliases=[
                "ffa", "feature fusion attention", "style transfer", "style reference", "styleid", "masactrl", "portraitdiffusion",
                "cross-image attention", "zepo", "stylealigned", "diffstyler", "visual style prompting", "attention injection",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that the banks were captured on. LoRA and other patches before or after are kept."),
                Bank.Input("style_bank", tooltip="Bank of the style picture."),
                method_input(),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=2.0, step=0.05,
                    tooltip="0 is the model without the patch, 1 is full fusion, above 1 exaggerates. Of this patch alone; style_strength of the samplers is one dial for all patches, colours and pieces. Other values than 0 and 1 compute attention twice at these layers.",
                ),
                io.Float.Input(
                    "start_percent", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Where in sampling the patch begins. Raising it leaves the first, coarse part to the portrait.",
                ),
                io.Float.Input(
                    "end_percent", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Where in sampling the patch ends. Lowering it leaves the last, fine part to the portrait.",
                ),
                io.String.Input(
                    "layers", default="all", advanced=True,
                    tooltip="Which of the captured layers to fuse: all, decoder, high-res decoder, none, or addresses such as 'output.6-8'. Fewer layers keep more of the portrait.",
                ),
                io.Combo.Input(
                    "rows", options=["all", "positive"], default="all", advanced=True,
                    tooltip="At cfg above 1: fuse for positive and negative prompt alike, or only for the positive one, which lets guidance amplify the style.",
                ),
                Bank.Input(
                    "content_bank", optional=True,
                    tooltip="Bank of the portrait, captured with the same steps and scheduler. Not connected: the picture that is sampled takes the portrait's place, at any size and with any sampler (style reference for text to image, upscalers, detailers).",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="A patched copy; the input model stays as it is. It also tells Fused Sampler and DDIM Sampler how the method starts and ends.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, layers=None, start_percent=None, end_percent=None, method=None, content_bank=UNCONNECTED
    ) -> bool | str:
        """Refuses before anything runs what cannot be; a connected bank is None here.

        The host leaves out a method that it does not know, and checks nothing if no input is left that is asked for.
        """
        try:
            inputs.check_choices(layers, start_percent, end_percent)
        except ValueError as error:
            return printable(str(error))
        if method is None:
            return f"There is no such method. Choose one of {'; '.join(offered())}."
        name = method["method"]
        if content_bank == UNCONNECTED and name in METHODS and needs_content(METHODS[name]):
            return _needed(name)
        return True

    @classmethod
    def execute(
        cls, model, style_bank, method, strength, start_percent, end_percent, layers, rows, content_bank=None
    ) -> io.NodeOutput:
        dials = {name: value for name, value in method.items() if name != "method"}
        patched = fuse(
            model, style_bank, content_bank, offered()[method["method"]], dials, strength=strength,
            start_percent=start_percent, end_percent=end_percent, layers=layers, rows=rows,
        )  # fmt: skip
        return io.NodeOutput(patched)


def fuse(
    model: ModelPatcher,
    style: FeatureBank,
    content: FeatureBank | None,
    method: Method,
    dials: Mapping[str, Any],
    *,
    strength: float,
    start_percent: float,
    end_percent: float,
    layers: str,
    rows: Rows,
) -> ModelPatcher:
    """A clone of ``model`` under a method."""
    banks = {STYLE: style} if content is None else {CONTENT: content, STYLE: style}
    window = host.window(model, start_percent, end_percent)
    check_model(model, banks)
    if content is not None:
        _check_schedules(content, style)
    parts = method.parts(**dials)
    _check_content(method, parts, banks)
    patched = with_run(model)
    for rule, selection in _selections(method, parts, layers, banks):
        patched.set_model_attn1_patch(Hook(FusionPatch(rule, banks, selection, strength, window, rows), method))
    return patched


def _check_content(method: Method, parts: tuple[Part, ...], banks: Banks) -> None:
    if CONTENT not in banks and any(CONTENT in part.rule.needs for part in parts):
        raise ValueError(_needed(method.name))


def _needed(name: str) -> str:
    others = [other for other, method in METHODS.items() if not needs_content(method)]
    return f"{name} reads the portrait's features. Connect content_bank, or choose a method that does without: {', '.join(others)}."


def needs_content(method: Method) -> bool:
    """Whether a method cannot do without the portrait's features, at its own dials."""
    parts = method.parts(**{dial.name: dial.default for dial in method.dials})
    return any(CONTENT in part.rule.needs for part in parts)


def _selections(
    method: Method, parts: tuple[Part, ...], layers: str, banks: Banks
) -> list[tuple[Any, LayerSelection]]:
    """The rules of a method and the layers where each acts: its own among the kept and chosen ones."""
    found = []
    for rule, preset in parts:
        chosen = LayerSelection.parse(layers, _shared_layers(rule, banks))
        found.append((rule, LayerSelection(tuple(filter(PRESETS[preset], chosen)))))
    if layers != "none" and not any(len(selection) for _, selection in found):
        wanted = " and ".join(preset for _, preset in parts)
        kept = next((bank.layers for bank in banks.values() if bank.layers), ())
        raise ValueError(
            f"{method} acts on {wanted}, and of these the banks keep none that are chosen: they keep {describe(kept)}. "
            "Invert with layers 'all', and set layers of FFA to 'all'."
        )
    return found


def _shared_layers(rule: Any, banks: Banks) -> tuple:
    """Layers that can be fused: those kept in every bank that the rule reads."""
    read = {name: bank for name, bank in banks.items() if name in rule.reads}
    for name, bank in read.items():
        if not bank.layers:
            raise ValueError(
                f"The {name} bank keeps no features, and this method reads them. Invert the {name} with layers (and "
                "keep_content on), or choose a method that reads only the style's, such as MasaCtrl."
            )
    first = next((bank.layers for bank in banks.values() if bank.layers), ())
    shared = tuple(layer for layer in first if all(layer in bank.layers for bank in read.values()))
    if read and not shared:
        kept = ", ".join(f"{name} holds {describe(bank.layers)}" for name, bank in read.items())
        raise ValueError(f"The banks have no layer in common: {kept}. Invert both with the same layers.")
    return shared


def _check_schedules(content: FeatureBank, style: FeatureBank) -> None:
    mine, other = content.trajectory.sigmas, style.trajectory.sigmas
    if len(mine) != len(other) or not torch.allclose(mine, other, rtol=SIGMA_TOLERANCE):
        raise ValueError(
            f"Content and style were inverted on different schedules: {format_sigmas(mine.flip(0))} and "
            f"{format_sigmas(other.flip(0))}. Use the same steps and scheduler for both."
        )
