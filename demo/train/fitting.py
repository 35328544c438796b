"""Fits the patch codec: principal components, then a decoder that looks at the neighbours of a cell.

python3 -m demo.train.fitting FOLDER FILE...   # gives weights files a new decoder; their latents stay what they are

Colour alignment moves latents by an affine map over channels, which offsets the fine components of all cells alike. A
patch decoded from its own cell shows that as a pattern of 4 px; neighbours tell it from real detail. The decoder is
therefore fitted, by least squares, on latents of pictures and on such moved latents.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.sampling.color import transport

from ..codec import PATCH, PATCH_VALUES, PatchCodec, neighbourhoods, to_patches
from . import checkpoint, dataset, natural
from .export import CODEC_PREFIX
from .pictures import as_images

RENDERED, CROPS = 400, 120  # pictures that the codec is fitted on
BATCH = 16
MOVED = 0.15  # weight of moved latents: more of it blurs, less of it leaves a grid


def pictures(folder: Path) -> Tensor:
    """Rendered pictures and crops of photographs, mixed: (520, 3, 128, 128) in 0..1."""
    dataset.build(folder, 128, 1)  # unless that file is there
    rendered = np.load(dataset.file_name(folder, 128, 0))[:RENDERED]
    r = np.random.default_rng(3)
    photos = natural.photographs(dataset.ASSETS)
    crops = np.stack([natural.photo_crop(photos, 128, r) for _ in range(CROPS)])
    return torch.cat([as_images(rendered), torch.from_numpy(crops).permute(0, 3, 1, 2)])


def with_decoder(codec: PatchCodec, images: Tensor) -> PatchCodec:
    """The same encoder with a decoder fitted on `images` (B, 3, H, W) in 0..1, of 12 px or more."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    still, moved = _Sums(codec.channels), _Sums(codec.channels)
    for batch in images[order].split(BATCH):
        latents = codec.encode(batch)
        still.add(neighbourhoods(latents), to_patches(batch))
        moved.add(*_moved(codec, batch, latents.roll(1, 0)))
    inputs = (1 - MOVED) * still.inputs / still.count + MOVED * moved.inputs / moved.count
    outputs = (1 - MOVED) * still.outputs / still.count + MOVED * moved.outputs / moved.count
    weights = torch.linalg.solve(inputs, outputs).T.float()
    kernel = weights[:, :-1].unflatten(1, codec.kernel.shape[1:])
    return dataclasses.replace(codec, kernel=kernel.contiguous(), bias=weights[:, -1].contiguous())


class _Sums:
    """Sums of products of neighbourhoods (and 1) with themselves and with patches: all that least squares needs."""

    def __init__(self, channels: int) -> None:
        size = 9 * channels + 1
        self.inputs = 1e-6 * torch.eye(size, dtype=torch.float64)  # defined on pictures of one colour too
        self.outputs = torch.zeros(size, PATCH_VALUES, dtype=torch.float64)
        self.count = 0

    def add(self, around: Tensor, patches: Tensor) -> None:
        """Neighbourhoods (B, 9 K, h w) and their patches (B, h, w, 48)."""
        known = F.pad(around.mT.flatten(0, 1).double(), (0, 1), value=1.0)
        self.inputs += known.T @ known
        self.outputs += known.T @ patches.flatten(0, 2).double()
        self.count += len(known)


def _moved(codec: PatchCodec, images: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbourhoods in latents of `images` that were given the colours of `references`, and what they should show.

    That is the average over all 16 places of the cells in the picture, which has no grid, and the fine detail that the
    codec drops. The outermost cells, where shifted pictures wrap around, are left out.
    """
    shifts = [(down, right) for down in range(PATCH) for right in range(PATCH)]
    shifted = torch.stack([codec.encode(images.roll(shift, (2, 3))) for shift in shifts], 2)
    moved = transport(shifted.flatten(2, 3), references).reshape(shifted.shape)  # one map for all places

    def average(latents: Tensor) -> Tensor:
        pairs = zip(latents.unbind(2), shifts, strict=True)
        decoded = (_plainly(codec, part).roll((-d, -r), (2, 3)) for part, (d, r) in pairs)
        return sum(decoded) / len(shifts)

    target = average(moved) + images - average(shifted)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    around = neighbourhoods(moved[:, :, 0]).unflatten(2, moved.shape[3:]).movedim(1, -1)[inner]
    return around.movedim(-1, 1).flatten(2), to_patches(target)[inner]


def _plainly(codec: PatchCodec, latents: Tensor) -> Tensor:
    """Every patch from its own cell alone, not clamped to 0..1."""
    patches = (codec.basis * codec.scale) @ latents.flatten(2) + codec.mean[:, None]
    return F.pixel_shuffle(patches.unflatten(2, latents.shape[2:]), PATCH) * 0.5 + 0.5


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.fitting", description=__doc__.splitlines()[2])
    parser.add_argument("folder", type=Path, help="where rendered pictures are, or will be")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="weights files of the own layout")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    images = pictures(options.folder)
    for path in options.files:
        tensors, metadata = checkpoint.read_tensors(path)
        codec = PatchCodec.from_state(checkpoint.read_tensors(path, CODEC_PREFIX)[0])
        state = with_decoder(codec, images).state()
        decoder = {CODEC_PREFIX + name: state[name] for name in ("kernel", "bias")}
        checkpoint.write_tensors(path, tensors | decoder, metadata)
        print(path)


if __name__ == "__main__":
    main()
