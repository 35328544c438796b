"""Fits the patch codec: principal components, then a decoder that looks at the neighbours of a cell.

python3 -m demo.train.fitting FOLDER FILE...   # gives weights files a new decoder; their latents stay what they are

A patch decoded from its own cell alone lacks what the encoder dropped, and ends where the next begins: a grid of 4 px,
the more so after colour alignment, which moves the fine components of all cells alike. Least squares on a cell and its
neighbours finds much of what was dropped, but averages the rest away, and textures become faint. The decoder is
therefore taken half the way to one whose patches have the covariance of patches of pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import PATCH_VALUES, PatchCodec, neighbourhoods, to_patches
from . import checkpoint, dataset, natural
from .export import CODEC_PREFIX
from .pictures import as_images

RENDERED, CROPS = 400, 120  # pictures that the codec is fitted on
BATCH = 40
CRISP = 0.5  # 0: least squares; 1: the covariance of pictures, at more than twice the error
FLOOR = 1e-5  # of variance, in units of -1..1: two grey values


def pictures(folder: Path) -> Tensor:
    """Rendered pictures, then crops of photographs: (520, 3, 128, 128) in 0..1."""
    dataset.build(folder, 128, 1)  # unless that file is there
    rendered = np.load(dataset.file_name(folder, 128, 0))[:RENDERED]
    r = np.random.default_rng(3)
    photos = natural.photographs(dataset.ASSETS)
    crops = np.stack([natural.photo_crop(photos, 128, r) for _ in range(CROPS)])
    return torch.cat([as_images(rendered), torch.from_numpy(crops).permute(0, 3, 1, 2)])


def with_decoder(codec: PatchCodec, images: Tensor) -> PatchCodec:
    """The same encoder with a decoder fitted on `images` (B, 3, H, W) in 0..1."""
    known = 9 * codec.channels + 1  # a neighbourhood, and 1
    products = torch.zeros(known + PATCH_VALUES, known + PATCH_VALUES, dtype=torch.float64)
    for batch in images.split(BATCH):
        around = neighbourhoods(codec.encode(batch)).mT.flatten(0, 1)
        rows = torch.cat([F.pad(around, (0, 1), value=1.0), to_patches(batch).flatten(0, 2)], 1).double()
        products += rows.T @ rows
    products /= products[known - 1, known - 1].clone()  # the number of patches
    inputs, mean = products[:known, :known], products[known - 1, known:]
    weights = torch.linalg.solve(inputs + 1e-9 * torch.eye(known), products[:known, known:]).T
    wanted = products[known:, known:] - mean.outer(mean)
    crisper = _optimal_map(weights @ inputs @ weights.T - mean.outer(mean), wanted)
    crisper = torch.eye(PATCH_VALUES) + CRISP * (crisper - torch.eye(PATCH_VALUES))
    kernel = (crisper @ weights[:, :-1]).unflatten(1, codec.kernel.shape[1:])
    bias = mean + crisper @ (weights[:, -1] - mean)
    return dataclasses.replace(codec, kernel=kernel.float().contiguous(), bias=bias.float())


def _optimal_map(given: Tensor, wanted: Tensor) -> Tensor:
    """The linear map (N, N) between normal distributions of two covariances that moves points least."""
    root, inverse = (_power(given + FLOOR * torch.eye(len(given)), exponent) for exponent in (0.5, -0.5))
    return inverse @ _power(root @ wanted @ root, 0.5) @ inverse


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-12).pow(exponent) @ vectors.T


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.fitting", description="Fit the decoder of the codec.")
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
