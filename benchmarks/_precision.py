"""How far each number type moves what attention gives, on features that were captured."""

from __future__ import annotations

import torch
from _figures import Figure
from _nodes import invert
from _steps import attention_of
from _subjects import Subject
from magicstyle.magicstyle_core.bank import FeatureBank
from magicstyle.magicstyle_core.features import PRECISIONS, Feature, PackedFeature
from magicstyle.magicstyle_core.fusion import AttentionInputs, FeatureFusion, Moment
from magicstyle.magicstyle_core.layers import LayerKey
from torch import Tensor

RULES = {
    "default": FeatureFusion(0.6, 0.4, queries="matched"),
    "stored queries": FeatureFusion(queries="stored"),
}


def precision_figures(subject: Subject, steps: int) -> list[Figure]:
    """Relative error of FFA's attention output, root of the mean square over all layers and steps, and the largest."""
    content, style = invert(subject, steps, precision="fp32", layers="all")
    figures = []
    for rule_name, rule in RULES.items():
        errors: dict[str, list[float]] = {name: [] for name in PRECISIONS}
        for step in sorted(set(content.kept_for.values())):
            for layer in content.layers:
                exact = _attention(subject, rule, content, style, step, layer.key, torch.float32)
                for name, dtype in PRECISIONS.items():
                    moved = _attention(subject, rule, content, style, step, layer.key, dtype)
                    errors[name].append(float((moved - exact).norm() / exact.norm()))
        for name, values in errors.items():
            mean = (sum(value**2 for value in values) / len(values)) ** 0.5
            figures += [
                Figure(subject.name, f"error of attention, {name}, {rule_name}", 100 * mean, unit=" %"),
                Figure(subject.name, f"error of attention, {name}, {rule_name}, largest", 100 * max(values), unit=" %"),
            ]
    return figures


def _attention(
    subject: Subject,
    rule: FeatureFusion,
    content: FeatureBank,
    style: FeatureBank,
    step: int,
    key: LayerKey,
    dtype: torch.dtype,
) -> Tensor:
    """Output of one layer whose features were kept as ``dtype``; the running image is where the content was."""
    running = content.stored(step, key).values
    kept_content, kept_style = (_kept(bank, step, key, dtype) for bank in (content, style))
    (branch,) = rule(AttentionInputs(running, running, running), kept_content, kept_style, Moment(0, 1))
    query, keys, values = branch.inputs
    attention = attention_of(subject.model.get_model_object("diffusion_model"), key)
    return attention(query, context=keys, value=values, transformer_options={})


def _kept(bank: FeatureBank, step: int, key: LayerKey, dtype: torch.dtype) -> Feature:
    packed = bank.stored(step, key)
    return PackedFeature.pack(Feature(packed.values, packed.grid), dtype).unpack(like=packed.values)
