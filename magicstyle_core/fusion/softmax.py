"""Attentions on projected queries, keys and values that related methods have in place of the plain softmax.

Each is an :class:`Attention`: from ``q (R,T,C)``, ``k (R,S,C)``, ``v (R,S,C)``, heads side by side in ``C``, to
``(R,T,C)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# Channels added to a head: fast kernels want widths that 8 divides, on a CPU every channel costs.
PAD, PAD_CPU = 8, 1
EPSILON = 1e-5  # of StyleAligned's deviations
# Numbers of an attention map that are there at a time: on a CPU what its cache holds, which is 3.5 times as fast.
CHUNK, CHUNK_CPU = 2**24, 2**20


class Plain(Protocol):
    """The host's attention, ``softmax(Q K^T / sqrt(d)) V`` for every head."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class Attention(Protocol):
    """What is done with projections where the host's attention is not enough."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor: ...


@dataclass(frozen=True)
class KeyWeights:
    """One softmax in which groups of keys weigh more or less: ``w_j exp(q k_j) / sum_i w_i exp(q k_i)``.

    ``groups`` are ``(tokens, weight)`` in the order of the keys, weights above 0. A weight of 2 is exactly the group
    given twice. The logarithms travel in channels that are added to every head, so that any attention kernel does it.
    """

    groups: tuple[tuple[int, float], ...]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor:
        width, pad = q.shape[-1] // heads, PAD_CPU if q.device.type == "cpu" else PAD
        wider = width + pad
        query, key, value = (F.pad(_split(x, heads), (0, pad)) for x in (q, k, v))
        # The kernel divides logits by the root of the wider head. It is made good where no copy is needed for it.
        query[..., :width] *= math.sqrt(wider / width)
        query[..., width] = math.sqrt(wider)
        first = 0
        for tokens, weight in self.groups:
            key[:, first : first + tokens, :, width] = math.log(weight)
            first += tokens
        out = plain(query.flatten(2), key.flatten(2), value.flatten(2))
        return _split(out, heads)[..., :width].flatten(2)


@dataclass(frozen=True)
class Contrast:
    """Attention whose map ``P`` is spread about its mean: ``clip(factor (P - 1/S) + 1/S, 0, 1) V``.

    Cross-image attention (arXiv 2311.03335), which does not make rows sum to 1 again. The map is computed, some rows at
    a time; a factor of 1 is the plain attention.
    """

    factor: float

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor:
        query, key, value = (_split(x, heads).transpose(1, 2) for x in (q, k, v))  # (R,heads,tokens,D)
        uniform = 1 / key.shape[2]
        keys = key.transpose(2, 3) / math.sqrt(key.shape[-1])
        chunk = CHUNK_CPU if q.device.type == "cpu" else CHUNK
        rows = max(1, chunk // (len(q) * heads * key.shape[2]))
        outs = []
        for part in query.split(rows, 2):
            spread = torch.softmax(part @ keys, -1).sub_(uniform).mul_(self.factor).add_(uniform).clamp_(0, 1)
            outs.append(spread @ value)
        return torch.cat(outs, 2).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class SharedStatistics:
    """StyleAligned (arXiv 2312.02133): the target's queries and keys take mean and deviation of the reference's.

    Queries are the target's ``tokens`` and then the reference's, which only lend their statistics; keys and values
    likewise, and are all read. The reference's keys arrive multiplied by ``scale``. ``attention`` reads what comes of
    it; None is the plain one.
    """

    tokens: int
    scale: float = 1.0
    attention: Attention | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor:
        query = _with_statistics(q[:, : self.tokens], q[:, self.tokens :])
        own, reference = k[:, : self.tokens], k[:, self.tokens :]
        key = torch.cat([_with_statistics(own, reference / self.scale), reference], 1)
        return plain(query, key, v) if self.attention is None else self.attention(query, key, v, heads, plain)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1))


def _with_statistics(x: Tensor, reference: Tensor) -> Tensor:
    """``x (R,T,C)`` with mean and deviation over the tokens of ``reference (R,S,C)``."""
    (mean, deviation), (wanted_mean, wanted_deviation) = (
        (part.mean(1, keepdim=True), (part.var(1, keepdim=True) + EPSILON).sqrt()) for part in (x, reference)
    )
    return (x - mean) / deviation * wanted_deviation + wanted_mean
