"""Fusion rules of related methods, and rules made of rules.

What a setting of :class:`.ffa.FeatureFusion` already is has no class here: StyleID, MasaCtrl, Visual Style Prompting
and ZePo. :mod:`..methods` names them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import CONTENT, LIVE, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored, check_positive
from .ffa import joined
from .matching import finest
from .softmax import Contrast, KeyWeights, SharedStatistics

# How much a token of the portrait's details weighs beside one of the style, and the part of the way after which details
# are there to be told from noise.
DETAIL_WEIGHT, DETAILS_FROM = 8.0, 0.2


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
class KeepDetails(FusionRule):
    """What ``rule`` reads, and the ``share`` of the portrait's tokens that is most detailed: eyes, a mouth, edges.

    All are in one softmax, so that a token which finds itself among the details keeps itself, and others do not look
    there. Attentions of ``rule`` that are no plain softmax stay as they are; so do all where no portrait is stored.
    """

    rule: FusionRule
    share: float = 0.1

    @property
    def reads(self) -> frozenset[str]:
        return self.rule.reads | {CONTENT}

    @property
    def needs(self) -> frozenset[str]:
        return self.rule.needs

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        branches = self.rule(live, stored, moment)
        if CONTENT not in stored or moment.progress < DETAILS_FROM:
            return branches
        details = finest(stored[CONTENT], self.share)
        return [branch if branch.attention is not None else _joined_by(details, branch) for branch in branches]


def _joined_by(details: Tensor, branch: Branch) -> Branch:
    query, key, value = branch.inputs
    inputs = AttentionInputs(query, torch.cat([details, key], 1), torch.cat([details, value], 1))
    return branch._replace(
        inputs=inputs, attention=KeyWeights(((details.shape[1], DETAIL_WEIGHT), (key.shape[1], 1.0)))
    )


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
