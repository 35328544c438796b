"""Fusion rules of related methods, and rules made of rules.

What a setting of :class:`.ffa.FeatureFusion` already is has no class here: StyleID, MasaCtrl, Visual Style Prompting
and ZePo. :mod:`..methods` names them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .base import CONTENT, LIVE, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored, check_positive
from .ffa import joined
from .softmax import Contrast, SharedStatistics


@dataclass(frozen=True)
class StandardAttention(FusionRule):
    """The running image attends to itself, as without a patch: the paper's ablation (Fig. 5)."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({LIVE})

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        return [Branch(live)]


@dataclass(frozen=True)
class Sum(FusionRule):
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
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(rule.reads for rule in self.rules))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(rule.needs for rule in self.rules))

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        return [
            branch._replace(weight=weight * branch.weight)
            for rule, weight in zip(self.rules, self.weights, strict=True)
            for branch in rule(live, stored, moment)
        ]


@dataclass(frozen=True)
class Stages(FusionRule):
    """One rule after another along the way back: ``first`` until ``border`` of the way is done, ``then`` from there on.

    With standard attention first that is MasaCtrl's start (arXiv 2304.08465).
    """

    first: FusionRule
    border: float
    then: FusionRule

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(rule.reads for rule in (self.first, self.then)))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(rule.needs for rule in (self.first, self.then)))

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        rule = self.first if moment.progress < self.border else self.then
        return rule(live, stored, moment)


@dataclass(frozen=True)
class CrossImage(FusionRule):
    """Cross-image attention (arXiv 2311.03335): the running image's queries read the style, with more contrast.

    Until ``structure_until`` of the way every ``structure_every``-th step reads the content instead.
    """

    contrast: float = 1.67
    structure_every: int = 5
    structure_until: float = 0.4

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({STYLE, CONTENT} if self.structure_until > 0 else {STYLE})

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        structure = moment.progress < self.structure_until and moment.step % self.structure_every == 0
        read = stored[CONTENT if structure else STYLE].hidden
        attention = None if self.contrast == 1 else Contrast(self.contrast)
        return [Branch(AttentionInputs(live.query, read, read), attention=attention)]


@dataclass(frozen=True)
class StructureRamp(FusionRule):
    """DiffStyler (arXiv 2403.18461): queries and keys go from the content's to the running image's; values are its own.

    The content's share is ``min(1, ramp * rest)``, where ``rest`` is the part of the way that is left; published with a
    ramp of 2. The style comes from elsewhere, there from a LoRA.
    """

    ramp: float = 2.0

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({CONTENT, LIVE})

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        share = min(1.0, self.ramp * (1 - moment.progress))
        query, key = (torch.lerp(own, stored[CONTENT].hidden, share) for own in (live.query, live.key))
        return [Branch(AttentionInputs(query, key, live.value))]


@dataclass(frozen=True)
class StyleAligned(FusionRule):
    """StyleAligned (arXiv 2312.02133): the running image reads itself and the style in one softmax, its queries and
    keys moved to the style's statistics.

    ``style_scale`` multiplies the logits of the style's keys, ``style_weight`` what their tokens weigh. Without the
    statistics that is ``FeatureFusion`` with keys ``live+style``.
    """

    style_scale: float = 1.0
    style_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive("style_scale", self.style_scale)
        check_positive("style_weight", self.style_weight)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({STYLE, LIVE})

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        both = joined(live, stored[STYLE].hidden, self.style_scale, self.style_weight)
        query = torch.cat([live.query, stored[STYLE].hidden], 1)  # the style's queries lend their statistics
        attention = SharedStatistics(live.key.shape[1], self.style_scale, both.attention)
        return [Branch(both.inputs._replace(query=query), attention=attention)]
