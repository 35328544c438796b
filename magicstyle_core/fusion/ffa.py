"""Feature Fusion Attention, and the family of settings around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..bank.features import Feature
from .base import CONTENT, LIVE, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored, check_positive
from .matching import relay
from .softmax import KeyWeights

Keys = Literal["style", "content+style", "content", "live+style"]
Queries = Literal["matched", "stored", "live"]


@dataclass(frozen=True)
class FeatureFusion(FusionRule):
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
    their tokens weigh in the softmax. Where no content is stored its place in the queries is the running image's. The
    defaults here are the paper's.
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
    def reads(self) -> frozenset[str]:
        asked = {CONTENT} if self.alpha else set()
        if self.beta and self.queries != LIVE:
            asked |= {STYLE, CONTENT} if self.queries == "matched" else {STYLE}
        return frozenset(asked.union(self._sources))

    @property
    def needs(self) -> frozenset[str]:
        return (self.reads - {CONTENT}).union(self._sources) - {LIVE}

    @property
    def _sources(self) -> list[str]:
        """Whose keys are read."""
        return [*self.keys.split("+")]

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        first, *others = self._sources
        read = live[1:] if first == LIVE else (stored[first].hidden,) * 2
        own = AttentionInputs(self._query(live, stored, moment), *read)
        if not others:
            return [Branch(own)]
        return [joined(own, stored[STYLE].hidden, self.style_scale, self.style_weight)]

    def _query(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Tensor:
        own = stored[CONTENT].hidden if CONTENT in stored else live.query
        if self.queries == "matched" and CONTENT in stored:
            own = (own + live.query) / 2
        shares = [self.alpha * own] if self.alpha else []
        if self.beta:
            other = live.query
            if self.queries == "matched":
                other = relay(stored[STYLE], Feature(own, moment.grid))
            elif self.queries == "stored":
                other = stored[STYLE].on(moment.grid)
            shares.append(self.beta * other)
        query = sum(shares[1:], shares[0])
        return query if self.temperature == 1 else self.temperature * query


def joined(own: AttentionInputs, style: Tensor, style_scale: float, style_weight: float) -> Branch:
    """One softmax over ``own`` keys and the style's ``(B,S,C)``, whose logits are multiplied by ``style_scale`` and
    whose tokens weigh ``style_weight``."""
    scaled = style if style_scale == 1 else style_scale * style
    inputs = AttentionInputs(own.query, torch.cat([own.key, scaled], 1), torch.cat([own.value, style], 1))
    groups = (own.key.shape[1], 1.0), (style.shape[1], style_weight)
    return Branch(inputs, attention=None if style_weight == 1 else KeyWeights(groups))
