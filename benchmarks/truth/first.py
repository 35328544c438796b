"""The rule that was this pack's default at first, kept as it was: what came later is measured against it.

Style queries are laid out as the content is: matched style tokens, and what varies within a few tokens of the style,
laid on the same grid. The second brings the strokes, and the style picture's layout with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import CONTENT, LIVE, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored

SHARPNESS = 20.0  # of the softmax over cosine similarities
WINDOW = 5  # tokens


@dataclass(frozen=True)
class FirstDefault(FusionRule):
    """Keys and values of the style; queries of which ``beta`` is the style's laid out anew."""

    beta: float = 0.4

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({CONTENT, STYLE, LIVE})

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({CONTENT, STYLE})

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        style, own = stored[STYLE], (stored[CONTENT].hidden + live.query) / 2
        relaid = _match(style.hidden, own) + _texture(style, moment.grid)
        return [Branch(AttentionInputs((1 - self.beta) * own + self.beta * relaid, style.hidden, style.hidden))]


def _match(style: Tensor, content: Tensor) -> Tensor:
    """For every token of the content (B,T,C) the style tokens (B,S,C) that resemble it, averaged: (B,T,C)."""
    wanted, offered = (tokens - tokens.mean(1, keepdim=True) for tokens in (content, style))
    spread = [torch.linalg.vector_norm(t, dim=1, keepdim=True) / t.shape[1] ** 0.5 for t in (wanted, offered)]
    least = torch.finfo(style.dtype).eps
    wanted = wanted / spread[0].clamp_min(least) * spread[1].clamp_min(least)
    query, key = (F.normalize(tokens, dim=-1)[:, None] for tokens in (wanted, offered))
    return F.scaled_dot_product_attention(query * SHARPNESS, key, style[:, None], scale=1.0)[:, 0]


def _texture(style: Feature, grid: tuple[int, int]) -> Tensor:
    """What varies within a few tokens of the style, which lies on the content's grid here: (B,S,C)."""
    if grid != style.grid:
        raise ValueError(f"Expected pictures of one size; got tokens on {style.grid} and {grid}.")
    image = style.hidden.transpose(1, 2).unflatten(2, style.grid)  # (B,C,h,w)
    window = [min(WINDOW, side - 1 + side % 2) for side in style.grid]  # odd, and no larger than the grid
    top, left = (side // 2 for side in window)
    smooth = F.avg_pool2d(F.pad(image, (left, left, top, top), mode="reflect"), window, stride=1)
    return (image - smooth).flatten(2).transpose(1, 2)
