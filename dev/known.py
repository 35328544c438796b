"""Prompts for small pictures in few steps whose pictures are known, and what of a picture is compared."""

from __future__ import annotations

import struct
import zlib

from .client import Prompt
from .demo import PROMPTS
from .graph import Graph

FOLDER = "torture"  # of the library, for all that is put there
SIZE, STEPS = 64, 4


def small(name: str, **changes: object) -> Prompt:
    """A workflow's prompt for small pictures in few steps, on the demo model; ``changes`` of any node's widgets."""
    graph = Graph.load(PROMPTS / f"{name}.json")
    for node in graph.nodes.values():
        inputs = node["inputs"]
        if node["class_type"] == "ImageScale":
            inputs.update(width=SIZE, height=SIZE)
        inputs.update({key: value for key, value in {"steps": STEPS, **changes}.items() if key in inputs})
    return graph.nodes


def valid(bank: str) -> dict[str, Prompt]:
    """Prompts by name that must always give the same pictures; ``library`` loads the bank."""
    return {
        "demo": small("magicstyle_demo"),
        "disk": small("magicstyle_paper", storage="disk", precision="int8"),
        "recompute": small("magicstyle_demo", storage="recompute", steps=3),
        "colors": small("keep_colors", storage="cpu", precision="fp32", keep_every=2),
        "sweep": small("ablation_grid", settings="Standard attention\nbeta=0.4", **{"look.texture": 0.5}),
        "library": loading(small("batch_portraits"), bank),
    }


def loading(prompt: Prompt, name: str) -> Prompt:
    graph = Graph(prompt)
    graph.set(graph.one("MagicStyle_LoadBank"), name=name)
    return graph.nodes


def saving(name: str) -> Prompt:
    return small("style_library", filename_prefix=f"{FOLDER}/{name}")


def saving_again(name: str, prefix: str = f"{FOLDER}/again") -> Prompt:
    """Load a bank and save it under another name: reads all of it."""
    return {
        "1": {"class_type": "MagicStyle_LoadBank", "inputs": {"name": name}},
        "2": {"class_type": "MagicStyle_SaveBank", "inputs": {"bank": ["1", 0], "filename_prefix": prefix}},
    }


def pixels(png: bytes) -> bytes:
    """What decides the pixels of a PNG: its header and its image data, without the texts beside them."""
    place, header, data = 8, b"", b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        chunk = png[place + 8 : place + 8 + length]
        header, data = (chunk, data) if kind == b"IHDR" else (header, data + chunk if kind == b"IDAT" else data)
        place += length + 12
    return header + zlib.decompress(data)
