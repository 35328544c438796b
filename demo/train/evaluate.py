"""Inversion error and fused attention of a weights file, on unseen rendered portraits and real photographs.

    python3 -m demo.train.evaluate FILE --size 128 --out sheet.png

Runs without ComfyUI.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.sampling.ddim import Exact, FixedPoint

from ..network import Network
from ..render import render, scene
from ..render.styles import KINDS, apply, style
from . import natural
from .dataset import ASSETS, HELD_OUT_SCENES, HELD_OUT_STYLES

STYLES = (
    "oil",
    "watercolor",
    "hatching",
    "halftone",
    "mosaic",
    "woodcut",
    "poster",
    "pointillism",
    "neon",
    "risograph",
)


def decibels(a: Tensor, b: Tensor) -> float:
    """PSNR of images in 0..1."""
    return float(-10 * (a - b).square().mean().log10())


def evaluate(path: Path, size: int, steps: int, out: Path, kinds: Sequence[str], contents: int) -> None:
    """Print inversion errors and write a sheet: content, references, results, one row per content."""
    network = Network.load(path)
    references = _references(size, kinds)
    print(f"{path.name}: {size} px, {steps} inversion steps; picture, codec, way back by method")
    styles = network.invert(references, steps)
    rows = [[torch.ones_like(references[0]), torch.ones_like(references[0]), *references]]
    for name, image in _contents(size)[:contents]:
        coded = network.codec.decode(network.codec.encode(image[None]))
        back = {str(m): network.invert(image[None], steps, m) for m in (Exact(), FixedPoint(1))}
        plain = {method: network.stylize(bank) for method, bank in back.items()}
        report = ", ".join(f"{method} {decibels(picture, coded):.1f} dB" for method, picture in plain.items())
        print(f"  {name}: codec {decibels(coded, image[None]):.1f} dB, {report}")
        content = network.invert(image.expand(len(kinds), -1, -1, -1), steps)
        fusion = network.patch(FeatureFusion(), content, styles)
        rows.append([image, plain["exact"][0], *network.stylize(content, [fusion], styles)])
    sheet = torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0)
    Image.fromarray(np.uint8((sheet.numpy() * 255).round())).save(out)


def _contents(size: int) -> list[tuple[str, Tensor]]:
    photos = [
        (n, np.asarray(p.resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255)
        for n, p in zip(natural.PHOTOGRAPHS, natural.photographs(ASSETS), strict=True)
    ]
    rendered = [(f"scene {s}", render(scene(s), size)[0]) for s in range(HELD_OUT_SCENES, HELD_OUT_SCENES + 3)]
    return [(name, torch.from_numpy(image).permute(2, 0, 1)) for name, image in photos + rendered]


def _references(size: int, kinds: Sequence[str]) -> Tensor:
    """One style picture per kind, of people and with dials never trained on: (len(kinds), 3, size, size)."""
    images = [
        apply(style(HELD_OUT_STYLES + KINDS.index(kind), kind), render(scene(HELD_OUT_SCENES + 50 + i), size)[0])
        for i, kind in enumerate(kinds)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--styles", default=",".join(STYLES), help="kinds, comma separated")
    parser.add_argument("--contents", type=int, default=5, help="the two photographs, then rendered portraits")
    options = parser.parse_args()
    evaluate(options.weights, options.size, options.steps, options.out, options.styles.split(","), options.contents)


if __name__ == "__main__":
    main()
