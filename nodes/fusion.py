"""The FFA attention patch as a node."""

from __future__ import annotations

from typing import get_args

import torch

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.attention import FusionPatch, Rows
from ..magicstyle_core.bank import FeatureBank, Lookup
from ..magicstyle_core.fusion import FeatureFusion, FusionRule, Keys, Queries
from ..magicstyle_core.layers import PRESETS, AttentionLayer, LayerSelection, describe
from ..magicstyle_core.methods import Method, Part
from ..magicstyle_core.schedule import SIGMA_TOLERANCE, format_sigmas
from . import host, models
from .running import with_calls
from .types import CATEGORY, Bank, Rule


class FFAAttentionPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_FFA",
            display_name="FFA Attention Patch",
            category=CATEGORY,
            description="Feature Fusion Attention: while the model samples, its self-attention asks with a mix of the "
            "portrait's and the style's queries, and reads the keys and values kept of the style.",
            search_aliases=["ffa", "feature fusion attention", "style transfer", "styleid", "masactrl", "attention injection"],
            inputs=[
                io.Model.Input("model", tooltip="The model that both banks were captured on. LoRA and other patches before or after are kept."),
                Bank.Input("content_bank", tooltip="Bank of the portrait."),
                Bank.Input("style_bank", tooltip="Bank of the style picture, captured with the same steps and scheduler."),
                io.Float.Input(
                    "alpha", default=0.6, min=0.0, max=1.0, step=0.01,
                    tooltip="Share of the portrait in the queries. Raising it keeps more of the portrait's layout and face. alpha + beta = 1.",
                ),
                io.Float.Input(
                    "beta", default=0.4, min=0.0, max=1.0, step=0.01,
                    tooltip="Share of what queries names. matched: raising it brings more of the style's texture. stored: it also copies the style picture's layout. live: it leaves the picture freer. alpha + beta = 1.",
                ),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=2.0, step=0.05,
                    tooltip="0 is the model without the patch, 1 is full fusion, above 1 exaggerates. Of this patch alone; style_strength of Fused Sampler is one dial for all patches, colours and pieces. Other values than 0 and 1 compute attention twice at these layers.",
                ),
                io.Float.Input(
                    "start_percent", default=0.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Where in sampling the patch begins. Raising it leaves the first, coarse part to the portrait.",
                ),
                io.Float.Input(
                    "end_percent", default=1.0, min=0.0, max=1.0, step=0.01,
                    tooltip="Where in sampling the patch ends. Lowering it leaves the last, fine part to the portrait.",
                ),
                io.Combo.Input(
                    "keys", options=list(get_args(Keys)), default="style", advanced=True,
                    tooltip="What the queries read. style: strongest. content+style: keeps more of the portrait. live+style: the running image beside the style. content: no style, for comparison.",
                ),
                io.Combo.Input(
                    "queries", options=list(get_args(Queries)), default="matched", advanced=True,
                    tooltip="What beta mixes in. matched: the style's queries, laid out as the portrait is. stored: the same where they lie in the style picture (the paper). live: the running image's own (StyleID, MasaCtrl).",
                ),
                io.Float.Input(
                    "temperature", default=1.0, min=0.1, max=5.0, step=0.05, advanced=True,
                    tooltip="Factor on the attention logits. Raising it makes every token read fewer, better matching style tokens: crisper texture.",
                ),
                io.String.Input(
                    "layers", default="all", advanced=True,
                    tooltip="Which of the captured layers to fuse: all, decoder, high-res decoder, none, or addresses such as 'output.6-8'. Fewer layers keep more of the portrait.",
                ),
                io.Combo.Input(
                    "rows", options=["all", "positive"], default="all", advanced=True,
                    tooltip="At cfg above 1: fuse for positive and negative prompt alike, or only for the positive one, which lets guidance amplify the style.",
                ),
                io.Combo.Input(
                    "between_steps", options=list(get_args(Lookup)), default="nearest", advanced=True, optional=True,
                    tooltip="Only for samplers that leave the banks' noise levels (heun, dpmpp_2m, another scheduler or number of steps). nearest: read the nearest step. interpolate: mix the two steps around, which is smoother and reads twice as much.",
                ),
                Rule.Input("rule", optional=True, tooltip="Another method than alpha, beta, keys, queries and temperature describe, from Fusion Rule; these have no effect then."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="A patched copy; the input model stays as it is.")],
        )

    @classmethod
    def validate_inputs(cls, alpha=None, beta=None) -> bool | str:
        # Naming inputs here switches the host's own range checks off; both are in range if they sum to 1.
        if alpha is None or beta is None:
            return True  # linked: checked when they arrive
        try:
            FeatureFusion(alpha, beta)
        except ValueError as error:
            return str(error)
        return min(alpha, beta) >= 0 or f"alpha and beta must be between 0 and 1; got {alpha:g} and {beta:g}."

    @classmethod
    def execute(
        cls, model, content_bank, style_bank, alpha, beta, strength, start_percent, end_percent,
        keys, queries, temperature, layers, rows, between_steps="nearest", rule=None,
    ) -> io.NodeOutput:
        patched = fuse(
            model, content_bank, style_bank, rule, alpha=alpha, beta=beta, keys=keys, queries=queries, temperature=temperature,
            strength=strength, start_percent=start_percent, end_percent=end_percent, layers=layers, rows=rows,
            between_steps=between_steps,
        )  # fmt: skip
        return io.NodeOutput(patched)


def fuse(
    model: ModelPatcher,
    content: FeatureBank,
    style: FeatureBank,
    method: Method | None,
    *,
    alpha: float,
    beta: float,
    keys: Keys,
    queries: Queries,
    temperature: float,
    strength: float,
    start_percent: float,
    end_percent: float,
    layers: str,
    rows: Rows,
    between_steps: Lookup,
) -> ModelPatcher:
    """A clone of ``model`` under a method; None is that of ``alpha`` to ``temperature``, which it replaces."""
    method = method or Method("FFA", (Part(FeatureFusion(alpha, beta, keys, queries, temperature)),))
    window = host.window(model, start_percent, end_percent)
    models.check_model(model, content, "content")
    models.check_model(model, style, "style")
    _check_schedules(content, style)
    patched = with_calls(model)
    for rule, selection in _selections(method, layers, content, style):
        patch = FusionPatch(rule, content, style, selection, strength, window, rows, between_steps)
        patched.set_model_attn1_patch(patch)
    return patched


def _selections(
    method: Method, layers: str, content: FeatureBank, style: FeatureBank
) -> list[tuple[FusionRule, LayerSelection]]:
    """The rules of a method and the layers where each acts: its own among the kept and chosen ones."""
    found = []
    for rule, preset in method.parts:
        shared = _shared_layers(rule, content, style)
        chosen = LayerSelection.parse(layers, shared)
        found.append((rule, LayerSelection(tuple(filter(PRESETS[preset], chosen)))))
    if layers != "none" and not any(len(selection) for _, selection in found):
        wanted = " and ".join(preset for _, preset in method.parts)
        raise ValueError(
            f"{method.name} acts on {wanted}, and of these the banks keep none that are chosen: they keep "
            f"{describe(style.layers or content.layers)}. Invert with layers 'all', and set layers of FFA to 'all'."
        )
    return found


def _check_schedules(content: FeatureBank, style: FeatureBank) -> None:
    mine, other = content.trajectory.sigmas, style.trajectory.sigmas
    if len(mine) != len(other) or not torch.allclose(mine, other, rtol=SIGMA_TOLERANCE):
        raise ValueError(
            f"Content and style were inverted on different schedules: {format_sigmas(mine.flip(0))} and "
            f"{format_sigmas(other.flip(0))}. Use the same steps and scheduler for both."
        )


def _shared_layers(rule: FusionRule, content: FeatureBank, style: FeatureBank) -> tuple[AttentionLayer, ...]:
    """Layers that can be fused: those kept in every bank that the rule reads."""
    banks = {role: bank for role, bank in (("content", content), ("style", style)) if role in rule.reads}
    for role, bank in banks.items():
        if not bank.layers:
            raise ValueError(
                f"The {role} bank keeps no features, and these settings read them. Invert the {role} with layers (and "
                "keep_content on), or set queries to live, alpha to 0 and keys to style, which read only the style's."
            )
    shared = tuple(layer for layer in style.layers or content.layers if all(layer in b.layers for b in banks.values()))
    if banks and not shared:
        raise ValueError(
            f"The banks have no layer in common: content holds {describe(content.layers)}, style "
            f"{describe(style.layers)}. Invert both with the same layers."
        )
    return shared
