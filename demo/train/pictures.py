"""Batches of training pictures: out of files of pre-rendered images, or drawn as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import dataset, natural

WHOLE = 0.25  # share of pictures of twice the size that are reduced instead of cropped
CROPPED = 0.2  # share of pictures that are drawn at twice the size and cropped


class Pictures:
    """A weighted mix of image files, each an .npy of uint8 (N, S, S, 3), read as crops of `size` pixels.

    Files whose pictures are larger than `size` give random crops; of twice the size, some are reduced
    as a whole instead. Pictures are mirrored at random. `find` lists the files with their weights.
    """

    def __init__(
        self, find: Callable[[], Sequence[tuple[Path, float]]], size: int, device: torch.device | str = "cpu"
    ) -> None:
        self.find, self.size, self.device = find, size, device
        self.refresh()

    def refresh(self) -> None:
        """Take up files that were drawn meanwhile."""
        sources = self.find()
        if not sources:
            raise FileNotFoundError(f"No pictures of {self.size} px or more yet; draw some with demo.train.dataset.")
        self.arrays = [np.load(path, mmap_mode="r") for path, _ in sources]
        weights = torch.tensor([weight for _, weight in sources], dtype=torch.float64)
        self.weights = weights / weights.sum()

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` pictures (count, 3, size, size) in 0..1, on the device; `generator` lives on the CPU."""
        choice = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        draws = torch.rand(count, 5, generator=generator).tolist()
        crops = [self._crop(self.arrays[int(c)], *draw) for c, draw in zip(choice, draws, strict=True)]
        return as_images(np.stack(crops), self.device)

    def _crop(
        self, images: np.ndarray, which: float, top: float, left: float, mirror: float, whole: float
    ) -> np.ndarray:
        image = images[int(which * len(images))]
        if image.shape[0] == 2 * self.size and whole < WHOLE:
            image = image.reshape(self.size, 2, self.size, 2, 3).mean((1, 3)).round().astype(np.uint8)
        free = image.shape[0] - self.size + 1
        y, x = int(top * free), int(left * free)
        crop = image[y : y + self.size, x : x + self.size]
        return crop[:, ::-1] if mirror < 0.5 else crop


class Rendered:
    """The mix of `dataset.picture`, drawn on `device` as it is needed: no picture is stored, few come twice.

    Like files of pictures, it holds each portrait about three times, in different styles; some pictures are
    crops of larger ones, and all are mirrored at random.
    """

    def __init__(self, size: int, device: torch.device | str) -> None:
        self.size, self.device = size, torch.device(device)
        self.photos = natural.photographs(dataset.ASSETS)

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` pictures (count, 3, size, size) in 0..1, on the device; `generator` lives on the CPU."""
        share = dataset.FACES_PER_SCENE
        scenes = -(-count // share)
        first = torch.randint(dataset.TRAINING_PICTURES // share, (scenes,), generator=generator) * share
        large = torch.rand(scenes, generator=generator) < CROPPED
        draws = torch.rand(count, 3, generator=generator).tolist()
        indices = (first[:, None] + torch.arange(share)).flatten()[:count].tolist()
        scales = (1 + large.int()).repeat_interleave(share)[:count].tolist()
        return self._mirrored_crops(self.images(indices, scales), draws)

    def refresh(self) -> None:
        """Nothing to take up: every picture is new."""

    def images(self, indices: Sequence[int], scales: Sequence[int]) -> list[Tensor]:
        """Pictures `indices` of the data set, each (scale * size, scale * size, 3) in 0..1, on the device."""
        faces: dict = {}
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return [
                dataset.picture(index, self.size * scale, self.photos, faces, self.device)
                for index, scale in zip(indices, scales, strict=True)
            ]

    def _mirrored_crops(self, images: list[Tensor], draws: list[list[float]]) -> Tensor:
        crops = []
        for image, (top, left, mirror) in zip(images, draws, strict=True):
            free = image.shape[0] - self.size + 1
            y, x = int(top * free), int(left * free)
            crop = image[y : y + self.size, x : x + self.size]
            crops.append(crop.flip(1) if mirror < 0.5 else crop)
        return torch.stack(crops).permute(0, 3, 1, 2).contiguous()


def as_images(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in 0..1 on `device`."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float() / 255.0
