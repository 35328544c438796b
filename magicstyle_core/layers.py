"""Self-attention layers of a UNet: their addresses, and selections of them written as text.

A layer is addressed as the host addresses it: by block list, index in that list and depth inside the
transformer found there. The text form is a preset, or addresses such as ``output.6-11, middle``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from .text import quoted

LONGEST = 1000  # characters of a selection
BLOCKS = ("input", "middle", "output")
_ADDRESS = re.compile(r"(input|middle|output)(?:\.(\d+)(?:-(\d+))?)?(?:\.(\d+)(?:-(\d+))?)?")


class LayerKey(NamedTuple):
    """Address of one self-attention; equals the host's ``(*block, block_index)``."""

    block: str
    index: int
    depth: int

    def __str__(self) -> str:
        return f"{self.block}.{self.index}.{self.depth}"


class AttentionLayer(NamedTuple):
    """One self-attention of a model.

    ``scale`` is how many times smaller its token grid is than the latent, along each side.
    """

    key: LayerKey
    channels: int
    scale: int

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token grid ``(h, w)`` for a latent of ``height x width``; strided convolutions round up."""
        return -(-height // self.scale), -(-width // self.scale)


# On SD 1.x and 2.x "high-res decoder" is output.6-11 and "late decoder" output.4-11, the self-attentions 10 to 15 and 8
# to 15 of the papers; on SDXL output.3-5, for it has no attention at scale 1, and all of the decoder.
PRESETS: dict[str, Callable[[AttentionLayer], bool]] = {
    "all": lambda layer: True,
    "decoder": lambda layer: layer.key.block == "output",
    "high-res decoder": lambda layer: layer.key.block == "output" and layer.scale <= 2,
    "late decoder": lambda layer: layer.key.block == "output" and (layer.key.index, layer.scale) != (3, 4),
    "full-res decoder": lambda layer: layer.key.block == "output" and layer.scale == 1,
    "half-res decoder": lambda layer: layer.key.block == "output" and layer.scale == 2,
    "none": lambda layer: False,
}


@dataclass(frozen=True)
class LayerSelection:
    """Layers of one model, in the order in which the model runs them."""

    layers: tuple[AttentionLayer, ...]

    @classmethod
    def parse(cls, text: str, available: Sequence[AttentionLayer]) -> LayerSelection:
        """Select from ``available`` by a preset name or by comma-separated addresses.

        An address is ``block``, ``block.index`` or ``block.index.depth``; index and depth may be ranges
        (``output.6-11``). Raises ``ValueError`` for text that cannot be read or matches no layer.
        """
        chosen: set[LayerKey] = set()
        for part in _parts(text):
            matches = _matcher(part, available)
            found = {layer.key for layer in available if matches(layer)}
            if not found and part != "none":
                raise ValueError(f"Layers {quoted(part)} match nothing. Available: {describe(available)}.")
            chosen |= found
        return cls(tuple(layer for layer in available if layer.key in chosen))

    @staticmethod
    def check(text: str) -> None:
        """``ValueError`` for text that can be read for no model."""
        for part in _parts(text):
            _matcher(part)

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    @cached_property
    def keys(self) -> frozenset[LayerKey]:
        """Addresses of the layers."""
        return frozenset(layer.key for layer in self.layers)

    def __iter__(self) -> Iterator[AttentionLayer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        return describe(self.layers)


def _parts(text: str) -> list[str]:
    if len(text) > LONGEST:
        raise ValueError(f"Layers has {len(text)} characters; at most {LONGEST} are read. Use a preset or ranges.")
    return [part.strip() for part in text.lower().split(",")]


def _matcher(part: str, available: Sequence[AttentionLayer] = ()) -> Callable[[AttentionLayer], bool]:
    if part in PRESETS:
        return PRESETS[part]
    address = _ADDRESS.fullmatch(part)
    if address is None:
        there = f" Available: {describe(available)}." if available else ""
        raise ValueError(
            f"Layers {quoted(part)} cannot be read. Use a preset ({', '.join(PRESETS)}) or addresses such as "
            f"'output.6-11, middle'.{there}"
        )
    block, *numbers = address.groups()
    first, last, shallow, deep = (None if number is None else int(number) for number in numbers)

    return lambda layer: (
        layer.key.block == block and _within(layer.key.index, first, last) and _within(layer.key.depth, shallow, deep)
    )


def _within(value: int, first: int | None, last: int | None) -> bool:
    return first is None or first <= value <= (first if last is None else last)


def describe(layers: Sequence[AttentionLayer]) -> str:
    """Short text such as ``input.1-2, output.3-5 (12 layers)``; depths are left out."""
    parts = []
    for block in BLOCKS:
        indices = sorted({layer.key.index for layer in layers if layer.key.block == block})
        parts += [f"{block}.{first}" + (f"-{last}" if last > first else "") for first, last in _runs(indices)]
    return f"{', '.join(parts) or 'none'} ({len(layers)} layers)"


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of every run of indices without a gap."""
    runs = [[i for _, i in run] for _, run in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])]
    return [(run[0], run[-1]) for run in runs]
