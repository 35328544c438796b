"""Style features laid out as the content is: what the style would look like at every token of the portrait.

Stored style queries carry three things: what is there, which is found again by resemblance; strokes and dots, which
are laid piece by piece from where they belong to the like; and the order of a lattice, which holds everywhere.
None of them may tell the place in the style picture, which would ghost into a portrait that is posed otherwise.
"""

from __future__ import annotations

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
    key, query = comparable(style, content)
    laid = STROKES * tiled(strokes - order, key, query) + ORDER * extended(order, content.grid)
    return _averaged(style.hidden, key, query) + laid.flatten(2).transpose(1, 2)


def match(style: Feature, content: Feature) -> Tensor:
    """For every token of the content the style tokens that resemble it, averaged by resemblance: ``(B,T,C)``."""
    return _averaged(style.hidden, *comparable(style, content))


def comparable(style: Feature, content: Feature) -> tuple[Feature, Feature]:
    """Unit tokens of style and content, whose product is their resemblance.

    It is the cosine between features whose mean and deviation over the tokens were aligned, so that a pale portrait
    finds its eyes in a dark picture.
    """
    wanted, offered = _centered(content.hidden), _centered(style.hidden)
    wanted = wanted / _deviation(wanted) * _deviation(offered)
    return Feature(F.normalize(offered, dim=-1), style.grid), Feature(F.normalize(wanted, dim=-1), content.grid)


def _averaged(hidden: Tensor, key: Feature, query: Feature) -> Tensor:
    """``hidden (B,S,C)`` read by resemblance."""
    asked, offered, read = query.hidden[:, None] * SHARPNESS, key.hidden[:, None], hidden[:, None]
    return F.scaled_dot_product_attention(asked, offered, read, scale=1.0)[:, 0]


def tiled(image: Tensor, style: Feature, content: Feature) -> Tensor:
    """``image (B,C,*style.grid)`` laid on the content's grid in pieces side by side: ``(B,C,*content.grid)``.

    Each comes from the place whose tokens, one by one, resemble most those of the content under it; ``style`` and
    ``content`` are :func:`comparable`.
    """
    query, key = (feature.hidden.transpose(1, 2).unflatten(2, feature.grid) for feature in (content, style))
    side = min(PIECE, *style.grid, *content.grid)
    below, beside = (-length % side for length in content.grid)
    query = F.pad(query, (0, beside, 0, below), mode="replicate")
    pieces = query.unfold(2, side, side).unfold(3, side, side)  # (B, C, rows, columns, side, side)
    kernels = pieces.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    resemblance = F.conv2d(key.flatten(0, 1)[None], kernels, groups=len(key))  # (1, B * pieces, *places)
    best = resemblance.flatten(2).argmax(2).view(len(key), *pieces.shape[2:4])
    y, x = (
        place.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, : content.grid[0], : content.grid[1]]
        for place in (best // resemblance.shape[3], best % resemblance.shape[3])
    )
    down, right = (torch.arange(length, device=best.device) % side for length in content.grid)
    source = (y + down[:, None]) * style.grid[1] + x + right
    laid = image.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, image.shape[1], -1))
    return laid.unflatten(2, content.grid)


def finest(feature: Feature, share: float) -> Tensor:
    """That share of the tokens ``(B,T,C)``, at least one, around which most varies: eyes, a mouth, edges."""
    count = max(1, round(share * feature.hidden.shape[1]))
    strength = torch.linalg.vector_norm(fine(feature), dim=1).flatten(1)
    chosen = strength.topk(count, 1).indices[..., None]
    return feature.hidden.gather(1, chosen.expand(-1, -1, feature.hidden.shape[2]))


def _centered(tokens: Tensor) -> Tensor:
    return tokens - tokens.mean(1, keepdim=True)


def _deviation(centered: Tensor) -> Tensor:
    # On the CPU torch's own deviation along this axis takes eight times as long.
    deviation = torch.linalg.vector_norm(centered, dim=1, keepdim=True) / centered.shape[1] ** 0.5
    return deviation.clamp_min(torch.finfo(centered.dtype).eps)
