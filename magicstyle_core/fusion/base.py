"""What rules work with: inputs of self-attention, and the attentions that they ask for.

Rules work before the projections. These have no bias, so ``to_q(a*h_c + b*h_s) = a*Q_c + b*Q_s`` and
``to_k(h_s) = K_s``: mixing hidden states is the paper's mixing of projected features, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from ..bank.features import Feature
from .softmax import Attention

CONTENT, STYLE, LIVE = "content", "style", "live"
Stored = Mapping[str, Feature]


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
    """Where the network is evaluated: at ``step`` of the ``steps`` of the way back, counted from 0 at the noise, and at
    a layer whose tokens lie on ``grid (h, w)``."""

    step: int
    steps: int
    grid: tuple[int, int] = (0, 0)

    @property
    def progress(self) -> float:
        """Share of the way that is done, 0 at the noise."""
        return self.step / self.steps


class FusionRule(Protocol):
    """Turns the running image's inputs and stored features into attentions to run.

    ``live`` is what the attention would read unpatched. ``stored`` holds features by name: "content" lies on the same
    token grid, "style" and others may lie on another. Weights of the returned branches sum to 1 for every token.
    """

    @property
    def reads(self) -> frozenset[str]:
        """Names of the features that it looks at; "live" among them if the running image's own keys or values are
        read."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Those that it cannot do without."""
        return self.reads - {LIVE}

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]: ...


def check_positive(name: str, value: float) -> None:
    """``ValueError`` unless ``value`` is above 0."""
    if not value > 0:
        raise ValueError(f"{name} must be above 0; got {value:g}. The neutral value is 1.")
