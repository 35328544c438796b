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
from .softmax import Attention, weighted

Keys = Literal["style", "content+style", "content", "live+style"]
Queries = Literal["matched", "stored", "live"]
Role = Literal["content", "style"]
Source = Literal["content", "style", "live"]


class AttentionInputs(NamedTuple):
    """Hidden states before projection: ``query (B,T,C)``, ``key (B,S,C)``, ``value (B,S,C)``."""

    query: Tensor
    key: Tensor
    value: Tensor


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
    features it looks at; the other's need not be kept, and come in without tokens. It holds "live" if the running
    image's own keys or values are read.
    """

    @property
    def reads(self) -> frozenset[Source]: ...

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

    ``temperature`` multiplies the attention's logits: above 1 sharpens it. Where style keys are joined by others,
    ``style_scale`` multiplies the logits of the style's keys alone (ZePo, arXiv 2408.05492), and ``style_weight`` what
    their tokens weigh in the softmax. The defaults here are the paper's.
    """

    alpha: float = 0.8
    beta: float = 0.2
    keys: Keys = "style"
    queries: Queries = "stored"
    temperature: float = 1.0
    style_scale: float = 1.0
    style_weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isclose(self.alpha + self.beta, 1.0, abs_tol=1e-3):
            raise ValueError(
                f"alpha ({self.alpha:g}) and beta ({self.beta:g}) must sum to 1. "
                f"Set beta to {1 - self.alpha:g} or alpha to {1 - self.beta:g}."
            )
        for name in ("temperature", "style_scale", "style_weight"):
            check_positive(name, getattr(self, name))
        for name, value, known in (("keys", self.keys, Keys), ("queries", self.queries, Queries)):
            if value not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}; got '{value}'.")

    @property
    def reads(self) -> frozenset[Source]:
        asks_style = self.beta > 0 and self.queries != "live"
        asks_content = self.alpha > 0 or (asks_style and self.queries == "matched")
        read: dict[Source, bool] = {
            "live": self.keys == "live+style",
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
                return [Branch(AttentionInputs(query, style.hidden, style.hidden))]
            case "content":
                return [Branch(AttentionInputs(query, content.hidden, content.hidden))]
            case "content+style":
                own = AttentionInputs(query, content.hidden, content.hidden)
            case "live+style":
                own = AttentionInputs(query, live.key, live.value)
        return [joined(own, style.hidden, self.style_scale, self.style_weight)]

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


def joined(own: AttentionInputs, style: Tensor, style_scale: float, style_weight: float) -> Branch:
    """One softmax over ``own`` keys and the style's ``(B,S,C)``, whose logits are multiplied by ``style_scale`` and
    whose tokens weigh ``style_weight``."""
    scaled = style if style_scale == 1 else style_scale * style
    inputs = AttentionInputs(own.query, torch.cat([own.key, scaled], 1), torch.cat([own.value, style], 1))
    return Branch(inputs, attention=weighted([(own.key.shape[1], 1.0), (style.shape[1], style_weight)]))


def check_positive(name: str, value: float) -> None:
    """``ValueError`` unless ``value`` is above 0."""
    if not value > 0:
        raise ValueError(f"{name} must be above 0; got {value:g}. The neutral value is 1.")


def with_strength(branches: Sequence[Branch], live: AttentionInputs, strength: float | Tensor) -> Sequence[Branch]:
    """Blend ``branches`` with the unpatched attention: 0 is unpatched, 1 the rule, above 1 extrapolates.

    ``strength`` is a number or ``(B or 1, T or 1, 1)``.
    """
    if not isinstance(strength, Tensor) and strength == 1:
        return branches
    return [*(branch._replace(weight=branch.weight * strength) for branch in branches), Branch(live, 1 - strength)]
