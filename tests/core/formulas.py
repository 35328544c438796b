"""Attention written out on projected queries, keys and values, and a look into the running network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from denoisers import UNetDenoiser, assert_close, feature
from torch import Tensor
from unet import Attention

from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.fusion.attention import LayerCall
from magicstyle_core.fusion.base import AttentionInputs
from magicstyle_core.layers import LayerKey


class Projected(NamedTuple):
    """Per-head projections ``(R,heads,T,D)`` of one picture's tokens."""

    q: Tensor
    k: Tensor
    v: Tensor


def project(attention: Attention, hidden: Tensor) -> Projected:
    return Projected(
        *(
            layer(hidden).unflatten(2, (attention.heads, -1)).transpose(1, 2)
            for layer in (attention.to_q, attention.to_k, attention.to_v)
        )
    )


def attend(q: Tensor, k: Tensor, v: Tensor, temperature: float = 1.0) -> Tensor:
    """``softmax(temperature q k^T / sqrt(D)) v`` with the heads joined: ``(R,T,C)``."""
    probabilities = torch.softmax(temperature * q @ k.mT / math.sqrt(q.shape[-1]), -1)
    return (probabilities @ v).transpose(1, 2).flatten(2)


def both(one: Tensor, other: Tensor) -> Tensor:
    """Tokens of two pictures in one list."""
    return torch.cat([one, other], 2)


class Seen(NamedTuple):
    """What one self-attention received before any patch, and what left it after the last one."""

    live: Tensor
    output: Tensor


def look(model: UNetDenoiser, x: Tensor, sigma: Tensor) -> dict[LayerKey, Seen]:
    """Every self-attention of one evaluation of a model with one batch of conditionings."""
    live, output = {}, {}

    def before(inputs: AttentionInputs, call: LayerCall) -> AttentionInputs:
        live[call.key] = inputs.query
        return inputs

    def after(hidden: Tensor, call: LayerCall) -> Tensor:
        output[call.key] = hidden
        return hidden

    watched = replace(model, patches=(before, *model.patches), after=(*model.after, after))
    watched(x, sigma.expand(len(x)))
    return {key: Seen(live[key], output[key]) for key in live}


class Scene(NamedTuple):
    """One layer at one step: live, content and style projected, and what came out."""

    attention: Attention
    live: Projected
    content: Projected
    style: Projected
    output: Tensor

    def expect(self, attended: Tensor, tolerance: float = 1e-12) -> None:
        """The layer's output is this attention, through the output projection."""
        expected = self.attention.to_out(attended)
        assert_close(self.output, expected, tolerance)


def scenes(
    model: UNetDenoiser, x: Tensor, content: FeatureBank, style: FeatureBank, step: int
) -> list[tuple[LayerKey, Scene]]:
    """All layers of ``model`` at ``x``, next to what the banks hold of ``step``."""
    found = []
    for name, seen in look(model, x, content.trajectory.sigmas[step : step + 1]).items():
        attention = model.unet.block(name).attn1
        stored = (feature(bank, step, name, like=seen.live).hidden for bank in (content, style))
        hidden = (seen.live, *(tokens.expand(len(seen.live), -1, -1) for tokens in stored))
        found.append((name, Scene(attention, *(project(attention, h) for h in hidden), seen.output)))
    return found
