"""Several styles at once: each by a rule of its own, where a mask says, or everywhere by a share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import LIVE, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored


@dataclass(frozen=True, eq=False)
class Region:
    """``rule`` where ``weight`` says, with the features called ``style`` in the place of "style".

    ``weight`` is a share, 0 to 1, or a mask ``(B or 1, H, W)`` of shares over the picture.
    """

    rule: FusionRule
    style: str = STYLE
    weight: float | Tensor = 1.0

    def named(self, names: frozenset[str]) -> frozenset[str]:
        """What the rule calls "style", as it is called outside."""
        return frozenset(self.style if name == STYLE else name for name in names)

    def on(self, grid: tuple[int, int]) -> float | Tensor:
        """Weight of every token, ``(B or 1, h*w, 1)``: the mean of its part of the mask."""
        if not isinstance(self.weight, Tensor):
            return self.weight
        return F.interpolate(self.weight[:, None], grid, mode="area").flatten(2).mT


@dataclass(frozen=True, eq=False)
class Regions(FusionRule):
    """Feature fusion of several styles: a branch for each, in one evaluation.

    Where weights sum to more than 1 they are shared out in proportion; what is missing to 1 is the running image's own
    attention. Batches of masks follow the rows of the running image.
    """

    regions: tuple[Region, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({LIVE}).union(*(region.named(region.rule.reads) for region in self.regions))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(region.named(region.rule.needs) for region in self.regions))

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        # Masks are small and stay on the CPU until here: to ask a GPU whether they leave a rest would wait for it.
        weights = [region.on(moment.grid) for region in self.regions]
        whole = torch.as_tensor(sum(weights), dtype=torch.float64)
        branches: list[Branch] = []
        for region, weight in zip(self.regions, weights, strict=True):
            own = {STYLE: stored[region.style]} if region.style in stored else {}
            share = _rows(weight / whole.clamp_min(1), live.query)
            branches += [b._replace(weight=share * b.weight) for b in region.rule(live, {**stored, **own}, moment)]
        if bool((whole < 1).any()):
            branches.append(Branch(live, _rows((1 - whole).clamp_min(0), live.query)))
        return branches


def _rows(weight: Tensor, like: Tensor) -> float | Tensor:
    """A weight for each row of the running batch ``like (R,T,C)``, which holds the images once or several times."""
    if weight.ndim == 0:
        return float(weight)
    return weight.to(like).repeat(len(like) // len(weight) if len(weight) > 1 else 1, 1, 1)
