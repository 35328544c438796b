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

from .features import Feature
from .matching import relay

Keys = Literal["style", "content+style", "content", "live+style"]
Queries = Literal["matched", "stored", "live"]
Role = Literal["content", "style"]


class AttentionInputs(NamedTuple):
    """Hidden states before projection: ``query (B,T,C)``, ``key (B,S,C)``, ``value (B,S,C)``."""

    query: Tensor
    key: Tensor
    value: Tensor


class Plain(Protocol):
    """The host's attention on projected ``q (R,T,C)``, ``k (R,S,C)``, ``v (R,S,C)``, heads side by side in C."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class Attention(Protocol):
    """What a branch does with its projections where ``softmax(Q K^T / sqrt(d)) V`` is not enough: ``(R,T,C)``."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor: ...


class Branch(NamedTuple):
    """One attention of a weighted sum. ``weight`` is a number or ``(B or 1, T or 1, 1)``; ``attention`` None is the
    host's."""

    inputs: AttentionInputs
    weight: float | Tensor = 1.0
    attention: Attention | None = None


class Moment(NamedTuple):
    """Where on the way back the network is evaluated: ``step`` of ``steps``, counted from 0 at the noise."""

    step: int
    steps: int

    @property
    def progress(self) -> float:
        """Share of the way that is done, 0 at the noise."""
        return self.step / self.steps


class FusionRule(Protocol):
    """Turns the running image's inputs and two stored features into attentions to run.

    ``live`` is what the attention would read unpatched; ``content`` lies on the same token grid, ``style``
    may lie on another. Weights of the returned branches sum to 1 for every token. ``reads`` names the banks whose
    features it looks at; the other's need not be kept, and come in without tokens.
    """

    @property
    def reads(self) -> frozenset[Role]: ...

    def __call__(
        self, live: AttentionInputs, content: Feature, style: Feature, moment: Moment
    ) -> Sequence[Branch]: ...


@dataclass(frozen=True)
class FeatureFusion:
    """Feature Fusion Attention (MagicStyle, arXiv 2409.08156).

    Queries are ``alpha * content + beta * other``; keys and values come from ``keys``. What ``other`` is:

    - ``queries="matched"``: the style laid out as the content is (:func:`.matching.relay`). Half of the content's
      share comes from the running image, which has strokes of its own by then.
    - ``"stored"``: the style, token by token, as in the paper. It copies layout from a style picture that is posed
      otherwise.
    - ``"live"``: the running image. With alpha .75 and temperature 1.5 that is StyleID (arXiv 2312.09008), with
      alpha 0 MasaCtrl (arXiv 2304.08465).

    ``temperature`` multiplies the attention's logits: above 1 sharpens it. The defaults here are the paper's.
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

    @property
    def reads(self) -> frozenset[Role]:
        asks_style = self.beta > 0 and self.queries != "live"
        asks_content = self.alpha > 0 or (asks_style and self.queries == "matched")
        read: dict[Role, bool] = {
            "content": asks_content or self.keys in ("content", "content+style"),
            "style": asks_style or self.keys != "content",
        }
        return frozenset(role for role in read if read[role])

    def __call__(
        self, live: AttentionInputs, content: Feature, style: Feature, moment: Moment
    ) -> Sequence[Branch]:
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
        own = (content.hidden + live.query) / 2 if self.queries == "matched" else content.hidden
        shares = [self.alpha * own] if self.alpha else []
        if self.beta:
            match self.queries:
                case "matched":
                    other = relay(style, Feature(own, content.grid))
                case "stored":
                    other = style.on(content.grid)
                case "live":
                    other = live.query
            shares.append(self.beta * other)
        query = sum(shares[1:], shares[0])
        return query if self.temperature == 1 else self.temperature * query


@dataclass(frozen=True)
class StandardAttention:
    """The running image attends to itself, as without a patch: the paper's ablation (Fig. 5)."""

    @property
    def reads(self) -> frozenset[Role]:
        return frozenset()

    def __call__(
        self, live: AttentionInputs, content: Feature, style: Feature, moment: Moment
    ) -> Sequence[Branch]:
        return [Branch(live)]


@dataclass(frozen=True)
class MeanOfStyle:
    """All tokens of the style weighed alike. ``Sum((rule, MeanOfStyle()), (f, 1 - f))`` scales an attention's contrast
    by f: ``f P + (1 - f) / S`` of cross-image attention (arXiv 2311.03335), without its clipping to 0..1.
    """

    @property
    def reads(self) -> frozenset[Role]:
        return frozenset({"style"})

    def __call__(
        self, live: AttentionInputs, content: Feature, style: Feature, moment: Moment
    ) -> Sequence[Branch]:
        return [Branch(AttentionInputs(torch.zeros_like(live.query), style.hidden, style.hidden))]


@dataclass(frozen=True)
class Sum:
    """A weighted sum of the attentions of several rules.

    ``weights``, one for each rule, sum to 1 (else ``ValueError``) and may lie outside of 0..1. With weights ``(1 - g,
    g)``, of the content's queries and of the running image's, that is PortraitDiffusion (arXiv 2312.02212).
    """

    rules: tuple[FusionRule, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.rules) != len(self.weights) or not math.isclose(sum(self.weights), 1.0, abs_tol=1e-3):
            weights = ", ".join(f"{weight:g}" for weight in self.weights)
            raise ValueError(
                f"A sum of {len(self.rules)} rules needs as many weights, which sum to 1; got {weights or 'none'}."
            )

    @property
    def reads(self) -> frozenset[Role]:
        return frozenset[Role]().union(*(rule.reads for rule in self.rules))

    def __call__(
        self, live: AttentionInputs, content: Feature, style: Feature, moment: Moment
    ) -> Sequence[Branch]:
        return [
            branch._replace(weight=weight * branch.weight)
            for rule, weight in zip(self.rules, self.weights, strict=True)
            for branch in rule(live, content, style, moment)
        ]


def with_strength(branches: Sequence[Branch], live: AttentionInputs, strength: float | Tensor) -> Sequence[Branch]:
    """Blend ``branches`` with the unpatched attention: 0 is unpatched, 1 the rule, above 1 extrapolates.

    ``strength`` is a number or ``(B or 1, T or 1, 1)``.
    """
    if not isinstance(strength, Tensor) and strength == 1:
        return branches
    return [*(branch._replace(weight=branch.weight * strength) for branch in branches), Branch(live, 1 - strength)]
