"""How far each number type moves what attention gives, on features that were captured."""

from __future__ import annotations

import torch
from _figures import Figure
from _nodes import dials_of, invert
from _subjects import Subject
from magicstyle.magicstyle_core.bank.bank import FeatureBank
from magicstyle.magicstyle_core.bank.features import PRECISIONS, Feature, PackedFeature
from magicstyle.magicstyle_core.fusion.base import CONTENT, STYLE, AttentionInputs, FusionRule, Moment
from magicstyle.magicstyle_core.layers import LayerKey
from magicstyle.magicstyle_core.methods import METHODS
from torch import Tensor

MEASURED = {"default": METHODS["MagicStyle"], "stored queries": METHODS["MagicStyle, as published"]}


def precision_figures(subject: Subject, steps: int) -> list[Figure]:
    """Relative error of FFA's attention output, root of the mean square over all layers and steps, and the largest."""
    content, style = invert(subject, steps, precision="fp32", layers="all")
    figures = []
    for title, method in MEASURED.items():
        ((rule, _),) = method.parts(**dials_of(method))
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
                Figure(subject.name, f"error of attention, {name}, {title}", 100 * mean, unit=" %"),
                Figure(subject.name, f"error of attention, {name}, {title}, largest", 100 * max(values), unit=" %"),
            ]
    return figures


def _attention(
    subject: Subject,
    rule: FusionRule,
    content: FeatureBank,
    style: FeatureBank,
    step: int,
    key: LayerKey,
    dtype: torch.dtype,
) -> Tensor:
    """Output of one layer whose features were kept as ``dtype``; the running image is where the content was."""
    running, _, grid = content.store.at(step)[key]
    stored = {name: _kept(bank, step, key, dtype) for name, bank in ((CONTENT, content), (STYLE, style))}
    (branch,) = rule(AttentionInputs(running, running, running), stored, Moment(0, 1, grid))
    query, keys, values = branch.inputs
    return subject.transformer(key).attn1(query, context=keys, value=values, transformer_options={})


def _kept(bank: FeatureBank, step: int, key: LayerKey, dtype: torch.dtype) -> Feature:
    packed = bank.store.at(step)[key]
    return PackedFeature.pack(Feature(packed.values, packed.grid), dtype).unpack(like=packed.values)
