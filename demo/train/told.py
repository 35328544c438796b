"""Batches of pictures with prompts: whole faces with captions, and other pictures, parts of faces too, with none.

Captions are worded anew every time a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..text.captions import caption
from ..text.facts import Facts
from ..text.vocabulary import LENGTH, PADDING, padded, tokenize
from . import dataset, faces, observe
from .pictures import Pictures, as_images

CAPTIONED = 0.78  # share of a batch
SILENT = 0.1  # share of those that get an empty caption all the same, for guidance
CUTTINGS = 0.37  # of the other pictures, share of parts of faces
GROWTH = 16  # `refresh` draws a new file of faces every so many calls, until there are enough


class Told(NamedTuple):
    """Pictures (B, 3, H, W) in 0..1 and the tokens (B, L) of their prompts."""

    images: Tensor
    tokens: Tensor

    def to(self, device: torch.device | str) -> Told:
        """The same on a device."""
        return Told(self.images.to(device), self.tokens.to(device))


class FaceFile:
    """Pictures of one file, and facts as they are asked for."""

    def __init__(self, path: Path) -> None:
        self.images = np.load(path, mmap_mode="r")
        self.seen = faces.read_seen(path)
        self._facts: dict[int, Facts] = {}

    def facts(self, index: int) -> Facts:
        """Facts of picture `index`."""
        if index not in self._facts:
            self._facts[index] = observe.facts(self.seen[index])
        return self._facts[index]


class ToldPictures:
    """Training batches of `size` pixels out of the files in `folder`; pictures of faces are at least as large."""

    def __init__(self, folder: Path, size: int, files: int = 0) -> None:
        self.folder, self.size, self.files = folder, size, files
        self.calls = 0
        self.sources: dict[Path, FaceFile] = {}
        self._find()

    @cached_property
    def others(self) -> Pictures:
        """Pictures without a caption."""
        return Pictures(self._other_files, self.size)

    def _other_files(self) -> list[tuple[Path, float]]:
        """Files of pictures that are no faces, and those of faces, which are cropped where they are large enough."""
        sizes = [size for size in (128, 256) if size >= self.size]
        other = [path for size in sizes for path in dataset.finished(self.folder, size, "others")]
        whole = [path for size in sizes if size > self.size for path in faces.finished(self.folder, size)]
        shares = [(path, (1 - CUTTINGS) / len(other)) for path in other]
        return shares + [(path, CUTTINGS / len(whole)) for path in whole]

    def _find(self) -> None:
        for path in faces.finished(self.folder, 128):
            if path not in self.sources:
                self.sources[path] = FaceFile(path)
        if not self.sources:
            raise FileNotFoundError(f"No faces in {self.folder} yet; draw some with demo.train.faces.")

    def refresh(self) -> None:
        """Take up files that were drawn meanwhile, and now and then draw one."""
        self.calls += 1
        if len(self.sources) < self.files and self.calls % GROWTH == 0:
            faces.build(self.folder, 128, len(self.sources) + 1)
        self._find()
        self.others.refresh()

    def batch(self, count: int, generator: torch.Generator) -> Told:
        """`count` pictures with prompts."""
        told = round(CAPTIONED * count)
        files = list(self.sources.values())
        draws = torch.rand(told, 4, generator=generator).tolist()
        seeds = torch.randint(1 << 31, (told,), generator=generator).tolist()
        drawn = [self._face(files, *draw, seed) for draw, seed in zip(draws, seeds, strict=True)]
        pictures = as_images(np.stack([image for image, _ in drawn]))
        pictures = F.avg_pool2d(pictures, pictures.shape[-1] // self.size)
        prompts = [prompt for _, prompt in drawn] + [""] * (count - told)
        return Told(torch.cat([pictures, self.others.batch(count - told, generator)]), token_rows(prompts))

    def _face(
        self, files: list[FaceFile], which: float, row: float, mirror: float, silent: float, seed: int
    ) -> tuple[np.ndarray, str]:
        file = files[int(which * len(files))]
        index = int(row * len(file.seen))
        image = file.images[index]
        prompt = "" if silent < SILENT else caption(file.facts(index), seed)
        return (image[:, ::-1] if mirror < 0.5 else image), prompt


def token_rows(prompts: Sequence[str]) -> Tensor:
    """Tokens (B, L) of prompts, L whole chunks, as many as the longest needs."""
    rows = [padded(tokenize(prompt)[0]) for prompt in prompts]
    length = max([LENGTH, *map(len, rows)])
    return torch.tensor([row + [PADDING] * (length - len(row)) for row in rows])


def held_out(size: int, people: int = 28, styled: int = 20) -> dict[str, Told]:
    """Pictures of unseen people, partly in unseen styles, once with captions and once without."""
    images, seen = faces.collect(dataset.HELD_OUT_SCENES, people, styled, 128)
    pictures = F.avg_pool2d(as_images(images), 128 // size)
    prompts = [caption(observe.facts(one), seed) for seed, one in enumerate(seen)]
    return {
        "held_out": Told(pictures, token_rows(prompts)),
        "held_out_unprompted": Told(pictures, token_rows([""] * len(prompts))),
    }


def prepare(folder: Path, size: int, files: int) -> None:
    """Draw what the first batch of `size` pixels needs: `files` files of faces, other pictures, parts of faces."""
    dataset.build_others(folder, 128, 4)
    dataset.build_others(folder, 256, 2)
    faces.build(folder, 128, files)
    if size == 128:
        faces.build(folder, 256, 1)
