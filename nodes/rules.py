"""Methods of the field by their names, and the whole family of settings, as a node that gives FFA its rule."""

from __future__ import annotations

import inspect
from typing import get_args

from comfy_api.latest import io

from ..magicstyle_core.fusion import FeatureFusion, Keys, Queries
from ..magicstyle_core.methods import METHODS, Method, Part
from .types import CATEGORY, Rule

CUSTOM = "Custom"

# Range and meaning of every dial; its default is that of the method which has it.
DIALS = {
    "beta": (0.0, 1.0, "Share of the style in the queries; the portrait has the rest. Raising it brings more of the style."),
    "temperature": (0.1, 5.0, "Factor on the attention logits. Raising it makes every token read fewer, better matching style tokens."),
    "style_weight": (0.01, 100.0, "What a key of the style weighs beside one of the portrait's or the running image's. Raising it brings more of the style."),
    "style_scale": (0.05, 5.0, "Factor on the logits of the style's keys. Raising it makes the image read fewer, better matching style tokens, and more of them."),
    "style_share": (0.0, 1.0, "Share of the style's attention in the sum; the portrait's has the rest. Raising it brings more of the style."),
    "gamma": (0.0, 1.0, "Share of the portrait in the queries; the running image has the rest. Raising it keeps more of the portrait."),
    "guidance": (0.0, 3.0, "How far queries go from the portrait's (0) to the running image's (1) and beyond. Raising it frees the picture from the portrait."),
    "switch": (0.0, 1.0, "Part of the way after which guidance acts. Raising it keeps the portrait's queries longer."),
    "start": (0.0, 1.0, "Part of the way after which the style is read. Raising it keeps more of the portrait."),
    "contrast": (1.0, 5.0, "How far attention is spread about its mean. Raising it makes texture crisper."),
    "mix": (0.0, 1.0, "Share of the running image in the queries; the portrait has the rest. Lowering it keeps more of the portrait."),
    "ramp": (0.0, 10.0, "How long the portrait's layout is held. Raising it holds it longer."),
}  # fmt: skip


def _dials(make) -> list[io.Input]:
    """The inputs of one method, as its function names them."""
    inputs = []
    for name, parameter in inspect.signature(make).parameters.items():
        low, high, tooltip = DIALS[name]
        inputs.append(io.Float.Input(name, default=parameter.default, min=low, max=high, step=0.01, tooltip=tooltip))
    return inputs


def _family() -> list[io.Input]:
    """All dials of :class:`.fusion.FeatureFusion`, at MagicStyle's own defaults."""
    low, high, temperature = DIALS["temperature"]
    return [
        io.Float.Input("beta", default=0.4, min=0.0, max=1.0, step=0.01, tooltip="Share of what queries names in the queries; the portrait has the rest."),
        io.Combo.Input("keys", options=list(get_args(Keys)), default="content+style", tooltip="What the queries read: the style, the portrait, both in one softmax, or the running image beside the style."),
        io.Combo.Input("queries", options=list(get_args(Queries)), default="matched", tooltip="What beta mixes in: the style's queries laid out as the portrait is, where they lie in the style picture, or the running image's own."),
        io.Float.Input("temperature", default=1.0, min=low, max=high, step=0.05, tooltip=temperature),
        *(
            io.Float.Input(name, default=1.0, min=DIALS[name][0], max=DIALS[name][1], step=0.05, tooltip=f"Only where keys join the style's with others. {DIALS[name][2]}")
            for name in ("style_scale", "style_weight")
        ),
    ]  # fmt: skip


def _custom(beta: float, **settings) -> Method:
    return Method(CUSTOM, (Part(FeatureFusion(1 - beta, beta, **settings)),), None)


class FusionRule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = [io.DynamicCombo.Option(name, _dials(make)) for name, make in METHODS.items()]
        return io.Schema(
            node_id="MagicStyle_FusionRule",
            display_name="Fusion Rule",
            category=CATEGORY,
            description="Another way of reading the style than FFA Attention Patch has by itself: related methods by their names, with "
            "the values that their authors published, or every dial of the family.",
            search_aliases=[
                "styleid", "masactrl", "portraitdiffusion", "cross-image attention", "zepo", "stylealigned", "diffstyler",
                "visual style prompting", "attention preset",
            ],
            inputs=[
                io.DynamicCombo.Input(
                    "preset", options=[*options, io.DynamicCombo.Option(CUSTOM, _family())],
                    tooltip="The method. Its dials come below, at the values that its authors published; layers, part of the way and start are theirs too. Custom: all dials of one attention.",
                ),
            ],
            outputs=[Rule.Output(display_name="rule", tooltip="For FFA Attention Patch; also for Fused Sampler (FFF), which then starts as the method does.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, preset) -> io.NodeOutput:
        name, dials = preset["preset"], {key: value for key, value in preset.items() if key != "preset"}
        return io.NodeOutput(_custom(**dials) if name == CUSTOM else METHODS[name](**dials))
