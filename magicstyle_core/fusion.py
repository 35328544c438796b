"""Fusion rules: which hidden states a self-attention reads as query, key and value.

Rules work before the projections. These have no bias, so ``to_q(a*h_c + b*h_s) = a*Q_c + b*Q_s`` and
``to_k(h_s) = K_s``: mixing hidden states is the paper's mixing of projected features, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from .bank import Feature

Keys = Literal["style", "content+style", "content", "live+style"]
Queries = Literal["stored", "live"]


class AttentionInputs(NamedTuple):
    """Hidden states before projection: ``query (B,T,C)``, ``key (B,S,C)``, ``value (B,S,C)``."""

    query: Tensor
    key: Tensor
    value: Tensor


class Branch(NamedTuple):
    """One attention of a weighted sum. ``weight`` is a number or ``(B or 1, T or 1, 1)``."""

    inputs: AttentionInputs
    weight: float | Tensor = 1.0


class FusionRule(Protocol):
    """Turns the running image's inputs and two stored features into attentions to run.

    ``live`` is what the attention would read unpatched; ``content`` lies on the same token grid, ``style``
    may lie on another. Weights of the returned branches sum to 1 for every token.
    """

    def __call__(self, live: AttentionInputs, content: Feature, style: Feature) -> Sequence[Branch]: ...


@dataclass(frozen=True)
class FeatureFusion:
    """Feature Fusion Attention (MagicStyle, arXiv 2409.08156).

    Queries are ``alpha * content + beta * (style or live)``; keys and values come from ``keys``.
    ``queries="live"`` with alpha .75, temperature 1.5 is StyleID (arXiv 2312.09008); with alpha 0 it is
    MasaCtrl (arXiv 2304.08465). ``temperature`` multiplies the attention's logits: above 1 sharpens it.
    """

    alpha: float = 0.8
    beta: float = 0.2
    keys: Keys = "style"
    queries: Queries = "stored"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not math.isclose(self.alpha + self.beta, 1.0, abs_tol=1e-3):
            raise ValueError(
                f"alpha ({self.alpha:g}) and beta ({self.beta:g}) must sum to 1. "
                f"Set beta to {1 - self.alpha:g} or alpha to {1 - self.beta:g}."
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0; got {self.temperature:g}. The neutral value is 1.")
        for name, value, known in (("keys", self.keys, Keys), ("queries", self.queries, Queries)):
            if value not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}; got '{value}'.")

    def __call__(self, live: AttentionInputs, content: Feature, style: Feature) -> Sequence[Branch]:
        query = self._query(live, content, style)
        match self.keys:
            case "style":
                key = value = style.hidden
            case "content":
                key = value = content.hidden
            case "content+style":
                key = value = torch.cat([content.hidden, style.hidden], 1)
            case "live+style":
                key = torch.cat([live.key, style.hidden], 1)
                value = torch.cat([live.value, style.hidden], 1)
        return [Branch(AttentionInputs(query, key, value))]

    def _query(self, live: AttentionInputs, content: Feature, style: Feature) -> Tensor:
        query = self.alpha * content.hidden
        if self.beta:
            other = live.query if self.queries == "live" else style.on(content.grid)
            query = query + self.beta * other
        return query if self.temperature == 1 else self.temperature * query


@dataclass(frozen=True)
class StandardAttention:
    """The running image attends to itself, as without a patch: the paper's ablation (Fig. 5)."""

    def __call__(self, live: AttentionInputs, content: Feature, style: Feature) -> Sequence[Branch]:
        return [Branch(live)]


def with_strength(branches: Sequence[Branch], live: AttentionInputs, strength: float | Tensor) -> Sequence[Branch]:
    """Blend ``branches`` with the unpatched attention: 0 is unpatched, 1 the rule, above 1 extrapolates.

    ``strength`` is a number or ``(B or 1, T or 1, 1)``.
    """
    if not isinstance(strength, Tensor) and strength == 1:
        return branches
    return [*(Branch(inputs, weight * strength) for inputs, weight in branches), Branch(live, 1 - strength)]
