"""Style features laid out as the content is: what the style would look like at every token of the portrait.

Stored style queries carry three things: what is there, which is found again by resemblance; strokes and dots, which
are laid piece by piece from where they belong to the like; and the order of a lattice, which holds everywhere.
None of them may tell the place in the style picture, which would ghost into a portrait that is posed otherwise.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bank.features import Feature
from .pattern import extended, fine, regular

SHARPNESS = 20.0  # of the softmax over cosine similarities; 60 gave the same trade-off on the demo model
PIECE = 4  # tokens on a side: strokes keep their shape in it; 8 brings more of the style's layout
# How much stronger than in the style strokes and order are laid: queries hold them in part, and the portrait's own too.
STROKES, ORDER = 2.3, 3.5


def relay(style: Feature, content: Feature) -> Tensor:
    """Style hidden states ``(B,S,C)`` in the content's layout, ``(B,T,C)``."""
    strokes = fine(style)
    order = regular(strokes)
    laid = STROKES * tiled(strokes - order, style, content) + ORDER * extended(order, content.grid)
    return match(style, content) + laid.flatten(2).transpose(1, 2)


def match(style: Feature, content: Feature) -> Tensor:
    """For every token of the content the style tokens that resemble it, averaged by resemblance: ``(B,T,C)``.

    Resemblance is the cosine between features whose mean and deviation over the tokens were aligned, so that a pale
    portrait finds its eyes in a dark picture.
    """
    query, key = (F.normalize(tokens, dim=-1)[:, None] for tokens in _aligned(style, content))
    return F.scaled_dot_product_attention(query * SHARPNESS, key, style.hidden[:, None], scale=1.0)[:, 0]


def tiled(image: Tensor, style: Feature, content: Feature) -> Tensor:
    """``image (B,C,*style.grid)`` laid on the content's grid in pieces side by side: ``(B,C,*content.grid)``.

    Each comes from the place whose tokens, one by one, resemble most those of the content under it.
    """
    query, key = (
        F.normalize(tokens, dim=-1).transpose(1, 2).unflatten(2, feature.grid)
        for tokens, feature in zip(_aligned(style, content), (content, style), strict=True)
    )
    side = min(PIECE, *style.grid, *content.grid)
    down, right = (-length % side for length in content.grid)
    query = F.pad(query, (0, right, 0, down), mode="replicate")
    rows, columns = (length - side + 1 for length in style.grid)
    resemblance = sum(
        query[:, :, y::side, x::side].flatten(2).mT @ key[:, :, y : y + rows, x : x + columns].flatten(2)
        for y, x in product(range(side), repeat=2)
    )  # (B, pieces, places)
    pieces = F.unfold(image, side)
    laid = pieces.gather(2, resemblance.argmax(2)[:, None].expand(-1, pieces.shape[1], -1))
    laid = F.fold(laid, (content.grid[0] + down, content.grid[1] + right), side, stride=side)
    return laid[:, :, : content.grid[0], : content.grid[1]]


def finest(feature: Feature, share: float) -> Tensor:
    """That share of the tokens ``(B,T,C)``, at least one, around which most varies: eyes, a mouth, edges."""
    count = max(1, round(share * feature.hidden.shape[1]))
    strength = torch.linalg.vector_norm(fine(feature), dim=1).flatten(1)
    chosen = strength.topk(count, 1).indices[..., None]
    return feature.hidden.gather(1, chosen.expand(-1, -1, feature.hidden.shape[2]))


def _aligned(style: Feature, content: Feature) -> tuple[Tensor, Tensor]:
    """Content and style without their means, the content's deviations moved to the style's."""
    wanted, offered = _centered(content.hidden), _centered(style.hidden)
    return wanted / _deviation(wanted) * _deviation(offered), offered


def _centered(tokens: Tensor) -> Tensor:
    return tokens - tokens.mean(1, keepdim=True)


def _deviation(centered: Tensor) -> Tensor:
    # On the CPU torch's own deviation along this axis takes eight times as long.
    deviation = torch.linalg.vector_norm(centered, dim=1, keepdim=True) / centered.shape[1] ** 0.5
    return deviation.clamp_min(torch.finfo(centered.dtype).eps)
