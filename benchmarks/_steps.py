"""What a step of capture and of fusion costs beside a plain one."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from _figures import Figure
from _literal import Literal
from _nodes import fuse, invert, invert_one, sample
from _subjects import Subject
from _timing import Times, take_turns

STORED = "MagicStyle, as published"  # the method whose queries need no attention of their own
WHOLE = 20  # steps of the portrait that is reckoned up from single steps


def step_figures(subject: Subject, steps: int, rounds: int) -> list[Figure]:
    """Ratios of runs of ``steps`` steps; every step is kept, by DDIM inversion, which evaluates once a step."""
    times = take_turns(_variants(subject, steps), rounds)

    def figure(name: str, one: str, other: str, most: float | None = None) -> Figure:
        return Figure(subject.name, name, times.ratio(one, other), most)

    return [
        figure("capture step / plain step, batch of two", "capture", "plain two", 1.05),
        figure("capture step / plain step, all layers", "capture all", "plain two"),
        figure("fused step (stored queries) / plain step", "stored", "plain", 1.05),
        figure("fused step (matched queries, the default) / plain step", "matched", "plain"),
        figure("content + style in one batch / two inversions", "capture", "apart"),
        figure("recompute step / plain step", "recompute", "plain"),
        figure("fused step if its attention were read, not computed / fused step (stored)", "skipped", "stored"),
        figure("capture step, ours / literal", "capture", "literal capture"),
        figure("fused step (stored), ours / literal", "stored", "literal fused"),
        *_second(subject, times),
        Figure(subject.name, "seconds of a plain step", times.median("plain") / steps, unit=" s"),
    ]


def _variants(subject: Subject, steps: int) -> dict[str, Callable[[], object]]:
    whole = {"method": "ddim", "scheduler": "simple", "end_percent": 1.0}
    content, style = invert(subject, steps, **whole)
    recomputed = fuse(subject.model, *invert(subject, steps, **whole, storage="recompute"), STORED)
    stored = fuse(subject.model, content, style, STORED)
    matched = fuse(subject.model, content, style)
    literal = Literal(subject, steps)
    literal.invert()
    skip = Skipped(subject, stored, content)
    return {
        "plain two": lambda: invert(subject, steps, **{**whole, "layers": "none"}),
        "capture": lambda: invert(subject, steps, **whole),
        "capture all": lambda: invert(subject, steps, **{**whole, "layers": "all"}),
        "apart": lambda: [invert_one(subject, latent, steps, **whole) for latent in (subject.content, subject.style)],
        "plain": lambda: sample(subject.model, content),
        "stored": lambda: sample(stored, content),
        "matched": lambda: sample(matched, content),
        "skipped": skip.sample,
        "recompute": lambda: sample(recomputed, content),
        "literal capture": literal.invert,
        "literal fused": literal.sample,
    }


def _second(subject: Subject, times: Times) -> list[Figure]:
    """A portrait with a kept style against one from scratch, at 20 steps of exact inversion, from single steps.

    From scratch: N + 1 capture steps of two images and N fused ones. Then: N + 1 capture steps of one image.
    """
    batched, apart = [], []
    for both, each, fused in zip(*(times.seconds[name] for name in ("capture", "apart", "matched")), strict=True):
        second = (WHOLE + 1) * each / 2 + WHOLE * fused
        batched.append(second / ((WHOLE + 1) * both + WHOLE * fused))
        apart.append(second / ((WHOLE + 1) * each + WHOLE * fused))
    name = f"second portrait / first, {WHOLE} steps, from single steps"
    return [
        Figure(subject.name, f"{name}: first with both pictures in one batch", median(batched)),
        Figure(subject.name, f"{name}: first with the style inverted for the library", median(apart), most=0.70),
    ]


class Skipped:
    """The most that storing attention outputs could save: fused layers return a stored tensor and compute nothing."""

    def __init__(self, subject: Subject, fused, bank) -> None:
        self._model, self._bank = subject.model, bank
        self._modules = [subject.transformer(layer.key).attn1 for layer in bank.layers]
        self._kept: list[torch.Tensor] = []
        hooks = [module.register_forward_hook(self._keep) for module in self._modules]
        sample(fused, bank)
        for hook in hooks:
            hook.remove()

    def _keep(self, module, inputs, output) -> None:
        self._kept.append(output.half())

    def sample(self) -> None:
        outputs = iter(self._kept)

        def forward(n, *_, **__):
            return next(outputs).to(n)

        for module in self._modules:
            module.forward = forward
        try:
            sample(self._model, self._bank)
        finally:
            for module in self._modules:
                del module.forward
