"""How the attentions of a rule run at a layer: side by side through the projections, one by one in the softmax.

A patch can hand a layer one query, one key and one value. Branches are therefore stacked along rows there, and what
the stack holds is left for the attention itself, which takes it apart, attends branch by branch and sums up. So a layer
may mix attentions over different numbers of tokens, and a branch may bring a softmax of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import LayerKey
from .base import AttentionInputs, Branch
from .softmax import Attention, Plain


class _Stacked(NamedTuple):
    """A branch once its inputs are stacked. ``live`` ones go on with what an earlier patch has stacked."""

    queries: int
    keys: int
    weight: float | Tensor
    attention: Attention | None
    live: bool

    @classmethod
    def of(cls, branch: Branch, live: AttentionInputs) -> _Stacked:
        query, key, _ = branch.inputs
        return cls(query.shape[1], key.shape[1], branch.weight, branch.attention, branch.inputs is live)


@dataclass(frozen=True)
class Stack:
    """Branches whose ``R`` rows lie one after the other: ``(len(parts) * R, tokens, C)``.

    ``below`` is what an earlier patch stacked at the same layer; its rows are the ``R`` rows of this one.
    """

    layer: LayerKey
    parts: tuple[_Stacked, ...]
    below: Stack | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> Tensor:
        """The weighted sum of all attentions, without the stacked rows: ``(R,T,C)``."""
        queries, keys = max(part.queries for part in self.parts), max(part.keys for part in self.parts)
        if len(q) % len(self.parts) or len(q) != len(k) or q.shape[1] != queries or k.shape[1] != keys:
            raise ValueError(
                f"At layer {self.layer} the attention got queries {tuple(q.shape[:2])} and keys {tuple(k.shape[:2])} "
                f"instead of {queries} and {keys} tokens: another node after FFA Attention Patch merges or tiles "
                "tokens (ToMe, HyperTile). Remove it, or set FFA's strength to 1 and rows to all."
            )
        return self._collapse(self._attend(q, k, v, heads, plain))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int, plain: Plain) -> list[Tensor]:
        """The attention of every part, ``(R,T,C)`` each."""
        outs = []
        stacked = zip(self.parts, *(x.chunk(len(self.parts)) for x in (q, k, v)), strict=True)
        for part, query, key, value in stacked:
            inputs = query[:, : part.queries], key[:, : part.keys], value[:, : part.keys]
            if part.attention is not None:
                outs.append(part.attention(*inputs, heads, plain))
            elif part.live and self.below is not None:
                outs.append(torch.cat(self.below._attend(*inputs, heads, plain)))
            else:
                outs.append(plain(*inputs))
        return outs

    def _collapse(self, outs: Sequence[Tensor]) -> Tensor:
        first, *others = (out * part.weight for out, part in zip(outs, self.parts, strict=True))
        blended = sum(others, first)
        return blended if self.below is None else self.below._collapse(blended.chunk(len(self.below.parts)))


@dataclass
class Pending:
    """What the fused layers of one pass through the network leave for the attentions that follow them."""

    _stack: Stack | None = None
    _single: tuple[LayerKey, int] | None = None  # a layer that needs no stack, and its rows

    def stack(self, layer: LayerKey, branches: Sequence[Branch], live: AttentionInputs) -> AttentionInputs:
        """Inputs for a layer that make it attend to all ``branches``."""
        if self._stack is not None and self._stack.layer != layer:
            self.check_all_used()
        (only, *more) = branches
        if not more and only.attention is None and self._stack is None:
            self._single = layer, len(only.inputs.query)
            return only.inputs
        self._single = None
        self._stack = Stack(layer, tuple(_Stacked.of(branch, live) for branch in branches), self._stack)
        return AttentionInputs(*(_stacked(column) for column in zip(*(b.inputs for b in branches), strict=True)))

    def take(self, rows: int) -> Stack | None:
        """What waits for the attention that comes next, over ``rows`` rows of queries."""
        stack, single = self._stack, self._single
        self._stack = self._single = None
        if single is not None and single[1] != rows:
            # The host would read the rows of one picture as those of another, and say nothing.
            raise ValueError(
                f"At layer {single[0]} the attention got {rows} rows of queries instead of {single[1]}: another node "
                "after FFA Attention Patch tiles tokens (HyperTile). Remove it."
            )
        return stack

    def check_all_used(self) -> None:
        """``ValueError`` if an attention that a stack was left for did not ask for it."""
        stack, self._stack = self._stack, None
        if stack is not None:
            raise ValueError(
                f"Another node computes the attention of layer {stack.layer} without the host's hooks, so FFA cannot "
                "act there. Remove the node that replaces attention, or leave the layer out of FFA's layers."
            )

    def attend(self, plain: Plain, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """What the host runs instead of its attention ``plain`` while patches fuse."""
        stack = self.take(len(q))
        return plain(q, k, v) if stack is None else stack(q, k, v, heads, plain)


def _stacked(hidden: Sequence[Tensor]) -> Tensor:
    """``(R,tokens,C)`` each, with as many tokens as they have, to one ``(len(hidden) * R, most tokens, C)``."""
    tokens = max(part.shape[1] for part in hidden)
    return torch.cat([F.pad(part, (0, 0, 0, tokens - part.shape[1])) for part in hidden])
