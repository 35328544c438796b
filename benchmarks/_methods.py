"""What a step of every method costs beside a plain one, at the moment in which it computes most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from _figures import Figure
from _host import defaults
from _nodes import dials_of, invert, sample
from _subjects import Subject
from _timing import take_turns
from magicstyle.magicstyle_core.bank.features import Feature
from magicstyle.magicstyle_core.fusion.base import CONTENT, STYLE, AttentionInputs, Branch, FusionRule, Moment, Stored
from magicstyle.magicstyle_core.methods import METHODS, Method, Part
from magicstyle.magicstyle_core.sampling.fff import Look
from magicstyle.nodes.fusion import FFAAttentionPatch, fuse
from torch.overrides import TorchFunctionMode

ONE, TWO = 1.05, 1.6  # bounds of a step with one attention, and with more
STEPS = 20  # of the way on which the dearest moment is looked for
GRID = (2, 2)


def method_figures(subject: Subject, steps: int, rounds: int) -> list[Figure]:
    """Ratios of runs of ``steps`` steps on the nodes' default layers."""
    content, style = invert(subject, steps, method="ddim", scheduler="simple", end_percent=1.0)
    settings = {name: value for name, value in defaults(FFAAttentionPatch).items() if name != "method"}
    dearest = {name: _dearest(method) for name, method in METHODS.items()}

    def run(method: Method) -> Callable[[], object]:
        model = fuse(subject.model, style, content, method, {}, **settings)
        return lambda: sample(model, content)

    variants = {name: run(method) for name, method in dearest.items()}
    times = take_turns({"plain": lambda: sample(subject.model, content), **variants}, rounds)

    def most(method: Method) -> float:
        return TWO if max(part.rule.attentions for part in method.parts()) > 1 else ONE

    return [
        Figure(subject.name, f"fused step ({name}) / plain step", times.ratio(name, "plain"), most(method))
        for name, method in dearest.items()
    ]


@dataclass(frozen=True)
class Always(FusionRule):
    """A rule that is at one moment of the way all the time; there it computes as much as ``attentions`` plain ones."""

    rule: FusionRule
    step: int
    attentions: float

    @property
    def reads(self) -> frozenset[str]:
        return self.rule.reads

    def __call__(self, live: AttentionInputs, stored: Stored, moment: Moment) -> Sequence[Branch]:
        return self.rule(live, stored, Moment(self.step, STEPS, moment.grid))


def _dearest(method: Method) -> Method:
    """A method all of whose steps are the one in which it computes most; of equal ones the last, where none of them
    waits for its start any more. It begins and ends as sampling without style does."""
    parts = []
    for rule, layers in method.parts(**dials_of(method)):
        moments = [Always(rule, step, _attentions(rule, step)) for step in reversed(range(STEPS))]
        parts.append(Part(max(moments, key=lambda moment: moment.attentions), layers))
    return replace(method, parts=lambda: tuple(parts), dials=(), look=Look("none", texture=0.0))


def _attentions(rule: FusionRule, step: int) -> float:
    """How many plain attentions a rule's work amounts to: those that it runs to find its queries, the keys that all its
    branches read, and one for a softmax of their own, which writes out the map or more."""
    live, own, other = torch.randn(3, 1, GRID[0] * GRID[1], 8, generator=torch.Generator().manual_seed(0))
    stored = {CONTENT: Feature(own, GRID), STYLE: Feature(other, GRID)}
    with _Counting() as counting:
        branches = rule(AttentionInputs(live, live, live), stored, Moment(step, STEPS, GRID))
    read = sum(branch.inputs.key.shape[1] / live.shape[1] + (branch.attention is not None) for branch in branches)
    return counting.calls + read


class _Counting(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.calls += function is F.scaled_dot_product_attention
        return function(*args, **(kwargs or {}))
