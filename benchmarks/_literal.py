"""The method taken at its word: Q, K, V of every self-attention in fp32, and attention matrices in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from _nodes import invert, sample
from _subjects import Subject
from magicstyle.nodes.host import models
from torch import Tensor

ALPHA, BETA = 0.8, 0.2


@dataclass
class Literal:
    """CSDI and FFF of one pair; features lie in a list in the order of capture."""

    subject: Subject
    steps: int
    kept: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def invert(self) -> None:
        self.kept.clear()
        self.bank, _ = invert(self._with(self._capture), self.steps, layers="none", method="ddim")

    def sample(self) -> Tensor:
        """The way back; features are read from the last step to the first."""
        layers = len(models.attention_layers(self.subject.model))
        steps = [self.kept[first : first + layers] for first in range(0, len(self.kept), layers)]
        features = (feature for step in reversed(steps) for feature in step)
        return sample(self._with(lambda *_: self._fused(features, _[3])).model, self.bank)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for feature in self.kept for tensor in feature)

    def _with(self, function) -> Subject:
        model = self.subject.model.clone()
        for layer in models.attention_layers(model):
            model.set_model_attn1_replace(function, *layer.key)
        return Subject(self.subject.name, model, self.subject.content, self.subject.style, "none")

    def _capture(self, q: Tensor, k: Tensor, v: Tensor, options: dict) -> Tensor:
        self.kept.append((q.float().clone(), k.float().clone(), v.float().clone()))
        return attention(q, k, v, options["n_heads"])

    @staticmethod
    def _fused(features: Iterator[tuple[Tensor, Tensor, Tensor]], options: dict) -> Tensor:
        q, k, v = next(features)
        return attention(ALPHA * q[:1] + BETA * q[1:], k[1:], v[1:], options["n_heads"])


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention whose matrix of all tokens by all tokens is made in full."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)
