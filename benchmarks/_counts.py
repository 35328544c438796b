"""What is counted: evaluations of the network and calls between files while the nodes run, and bytes, from shapes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
from _figures import Figure, exactly
from _host import ROOT
from _nodes import fuse, invert, invert_one, sample
from _subjects import Subject
from magicstyle.magicstyle_core.bank.recording import CapturePlan
from magicstyle.magicstyle_core.layers import LayerSelection
from magicstyle.magicstyle_core.schedule import ascending
from magicstyle.nodes.host import host, models
from magicstyle.nodes.inversion import END_PERCENT

STEPS = 20
PACK = str(ROOT / "magicstyle_core"), str(ROOT / "nodes")


@dataclass
class Count:
    images: int = 0


@contextmanager
def evaluations(subject: Subject) -> Iterator[Count]:
    """Images that went through the network."""
    count = Count()

    def add(module, inputs) -> None:
        count.images += len(inputs[0])

    hook = subject.model.get_model_object("diffusion_model").register_forward_pre_hook(add)
    try:
        yield count
    finally:
        hook.remove()


def evaluation_figures(subject: Subject, steps: int) -> list[Figure]:
    def figure(name: str, count: Count, expected: int) -> Figure:
        return exactly(subject.name, f"evaluations, {steps} steps: {name}", count.images, expected)

    with evaluations(subject) as scratch:
        content, style = invert(subject, steps)
        sample(fuse(subject.model, content, style), content, style)
    with evaluations(subject) as cached:
        content = invert_one(subject, subject.content, steps)
        sample(fuse(subject.model, content, style), content, style)
    with evaluations(subject) as retune:
        sample(fuse(subject.model, content, style, beta=0.2), content, style)
    return [
        figure("from scratch, 3N+2", scratch, 3 * steps + 2),
        figure("style cached, 2N+1", cached, 2 * steps + 1),
        figure("another beta, N", retune, steps),
    ]


@dataclass
class Moves:
    """Python calls between functions of the pack that lie in different files, and the files that were visited."""

    count: int = 0
    files: set[str] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        file, caller = frame.f_code.co_filename, frame.f_back
        if event == "call" and file.startswith(PACK):
            self.files.add(file)
            before = caller.f_code.co_filename if caller else ""
            self.count += before != file and before.startswith(PACK)


def move_figures(subject: Subject) -> list[Figure]:
    """Moves during one fused layer, from the end of the norm before its self-attention to that attention's end."""
    content, style = invert(subject, steps=2)
    fused, moves = fuse(subject.model, content, style), Moves()
    block = subject.transformer(content.layers[-1].key)

    def stop(*_) -> None:
        sys.setprofile(None)
        for hook in hooks:  # one layer of one step
            hook.remove()

    begin = block.norm1.register_forward_hook(lambda *_: sys.setprofile(moves))
    hooks = [begin, block.attn1.register_forward_hook(stop)]
    try:
        sample(fused, content, style)
    finally:
        stop()
    return [
        Figure(subject.name, "moves of a fused layer, its bank in memory", moves.count, most=12),
        Figure(subject.name, "files that a fused layer runs through", len(moves.files), most=6),
    ]


def byte_figures(subject: Subject) -> list[Figure]:
    """Banks of an SD 1.5 pair at 512 px against Q, K, V of all its layers in fp32, at the same steps."""
    literal = sum(literal_bytes(subject, (64, 64), STEPS, images=2))
    figures = []
    for precision, dtype, share in (("fp16", torch.float16, 12), ("int8", torch.int8, 24)):
        plan = default_plan(subject, dtype)
        features, way = plan.bytes(2, (64, 64)), trajectory_bytes(4, (64, 64), STEPS, images=2)
        name = f"bank, 512 px, {STEPS} steps, {precision}: literal / ours"
        figures.append(Figure("SD 1.5", name, literal / (features + way), least=share))
        figures.append(Figure("SD 1.5", f"{name}, without trajectory", literal / features))
    return figures


def default_plan(subject: Subject, dtype: torch.dtype, steps: int = STEPS, layers: str | None = None) -> CapturePlan:
    """What the capture nodes keep at their defaults."""
    return CapturePlan(
        LayerSelection.parse(layers or subject.layers, models.attention_layers(subject.model)),
        ascending(host.schedule(subject.model, "ddim_uniform", steps)),
        dtype,
        window=host.window(subject.model, 0.0, END_PERCENT),
    )


def trajectory_bytes(channels: int, size: tuple[int, int], steps: int, images: int) -> int:
    """Latents at N+1 noise levels and the last noise, in fp32."""
    return 4 * images * channels * size[0] * size[1] * (steps + 2)


def literal_bytes(subject: Subject, size: tuple[int, int], steps: int, images: int) -> Iterator[int]:
    """Q, K, V of every layer in fp32."""
    for layer in models.attention_layers(subject.model):
        height, width = layer.grid(*size)
        yield 3 * 4 * images * steps * height * width * layer.channels
