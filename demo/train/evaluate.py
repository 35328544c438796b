"""Inversion error and fused attention of a weights file, on unseen rendered portraits and real photographs.

    python3 -m demo.train.evaluate FILE --size 128 --out sheet.png

Runs the pack's own inversion and fusion on the training network, without ComfyUI.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magicstyle_core.codec import PatchCodec
from magicstyle_core.color import adain
from magicstyle_core.ddim import FixedPoint, sample

from ..render import render, scene
from ..render.styles import KINDS, apply, style
from . import natural
from .dataset import ASSETS, HELD_OUT_SCENES, HELD_OUT_STYLES
from .diffusion import SIGNAL, STEPS
from .export import load
from .unet import DemoUNet

Features = list[dict[str, Tensor]]  # per step, by layer: (B, T, C)
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
ALPHA, BETA = 0.8, 0.2


class Network:
    """The trained UNet as a denoiser in VE form, with its self-attention open to capture and fusion."""

    def __init__(self, unet: DemoUNet) -> None:
        self.unet = unet
        self.blocks = unet.attention_blocks()

    def timesteps(self, count: int) -> list[int]:
        """`count` timesteps above the clean one, evenly spaced, ascending."""
        return [1 + i * (STEPS // count) for i in range(count)]

    def sigmas(self, count: int) -> Tensor:
        """Ascending sigmas (count + 1,), the first nearly clean."""
        signal = SIGNAL[[0, *self.timesteps(count)]]
        return ((1 - signal) / signal).sqrt()

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x0 of VE latents (B, 16, h, w) at sigma (B,)."""
        levels = ((1 - SIGNAL) / SIGNAL).sqrt()
        timestep = (levels[None] - sigma[:, None]).abs().argmin(1)
        scale = (1 + sigma**2).rsqrt()[:, None, None, None]
        noise = self.unet((x * scale).contiguous(memory_format=torch.channels_last), timestep)
        return x - sigma[:, None, None, None] * noise

    def hooked(self, change: Callable[[str, Tensor], tuple[Tensor, Tensor] | None]) -> list:
        """Call `change(layer, hidden)` before each self-attention; it may return another query and source."""
        return [
            block.attn1.register_forward_pre_hook(lambda _, inputs, name=name: change(name, inputs[0]))
            for name, block in self.blocks.items()
        ]

    def invert(self, latents: Tensor, steps: int, iterations: int = 1) -> tuple[Tensor, Features]:
        """Noise (B, 16, h, w) in VE form, and what every self-attention saw at each step's own sigma."""
        features: Features = []
        current: dict[str, Tensor] = {}
        handles = self.hooked(lambda name, hidden: current.__setitem__(name, hidden))
        method = FixedPoint(iterations)
        trajectory = method(self.denoise, latents, self.sigmas(steps), lambda *_: features.append(dict(current)))
        _remove(handles)
        return trajectory.latents[-1], features

    def generate(self, noise: Tensor, steps: int, fuse: tuple[Features, Features] | None = None) -> Tensor:
        """The way back, plain or with attention that asks as the content and reads the style."""
        place = iter(range(steps - 1, -1, -1))
        now = [0]

        def change(name: str, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
            content, reference = (bank[now[0]][name] for bank in fuse)
            return ALPHA * content + BETA * reference, reference

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            now[0] = next(place)
            return self.denoise(x, sigma)

        handles = self.hooked(change) if fuse else []
        result = sample(denoise, noise, self.sigmas(steps).flip(0))
        _remove(handles)
        return result


def decibels(a: Tensor, b: Tensor) -> float:
    """PSNR of images in 0..1."""
    return float(-10 * (a - b).square().mean().log10())


@torch.no_grad()
def evaluate(path: Path, size: int, steps: int, out: Path, kinds: Sequence[str], contents: int) -> None:
    """Print inversion errors and write a sheet: content, references, results, one row per content."""
    unet, codec, record = load(path)
    network = Network(unet)
    references = _references(size, kinds)
    print(f"{path.name}: {record.get('steps')} steps; {size} px, {steps} inversion steps")
    style_noise, style_features = network.invert(codec.encode(references), steps, 0)
    rows = [[torch.ones_like(references[0]), torch.ones_like(references[0]), *references]]
    for name, image in _contents(size)[:contents]:
        latents = codec.encode(image[None])
        noise, features = network.invert(latents, steps, 1)
        plain = codec.decode(network.generate(noise, steps))
        print(
            f"  {name}: codec {decibels(codec.decode(latents), image[None]):.1f} dB, "
            f"inversion and back {decibels(plain, codec.decode(latents)):.1f} dB"
        )
        results = _fused(network, codec, noise, features, style_noise, style_features, steps)
        rows.append([image, plain[0], *results])
    sheet = torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0)
    Image.fromarray(np.uint8((sheet.numpy() * 255).round())).save(out)


def _fused(
    network: Network,
    codec: PatchCodec,
    noise: Tensor,
    features: Features,
    style_noise: Tensor,
    style_features: Features,
    steps: int,
) -> Tensor:
    """The content in every style, (number of styles, 3, H, W)."""
    count = len(style_noise)
    repeated = [{k: v.expand(count, -1, -1) for k, v in step.items()} for step in features]
    start = adain(noise.expand(count, -1, -1, -1), style_noise)
    return codec.decode(network.generate(start, steps, (repeated, style_features)))


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


def _remove(handles: list) -> None:
    for handle in handles:
        handle.remove()


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
    torch.set_num_threads(2)
    evaluate(options.weights, options.size, options.steps, options.out, options.styles.split(","), options.contents)


if __name__ == "__main__":
    main()
