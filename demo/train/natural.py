"""Pictures other than rendered portraits: crops of public-domain photographs, dead leaves, clouds, plain.

They teach the network the texture of real photographs and calm large areas.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..render.fields import Field

PHOTOGRAPHS = ("portrait_astronaut.jpg", "portrait_hopper.jpg")  # of training; all others in assets/ stay unseen


def photographs(assets: Path, names: Sequence[str] = PHOTOGRAPHS) -> list[Image.Image]:
    """Photographs in `assets`: those that take part in training, or others."""
    return [Image.open(assets / name).convert("RGB") for name in names]


def photo_crop(photos: list[Image.Image], size: int, r: np.random.Generator) -> Field:
    """A random square of a random photograph, turned slightly, with random exposure: (size, size, 3)."""
    photo = photos[r.integers(len(photos))]
    side = r.uniform(max(72, 0.4 * size), 500)
    x, y = r.uniform(0, photo.width - side), r.uniform(0, photo.height - side)
    turned = photo.rotate(r.uniform(-12, 12), Image.Resampling.BICUBIC, center=(x + side / 2, y + side / 2))
    crop = turned.crop((int(x), int(y), int(x + side), int(y + side))).resize((size, size), Image.Resampling.LANCZOS)
    image = np.asarray(crop, np.float32) / 255.0
    image = image[:, ::-1] if r.uniform() < 0.5 else image
    tint = r.normal(1.0, 0.08, 3).astype(np.float32)
    return np.clip(image ** np.float32(r.uniform(0.75, 1.3)) * tint, 0.0, 1.0)


def dead_leaves(size: int, r: np.random.Generator) -> Field:
    """Overlapping opaque discs with power-law radii: the edge statistics of natural pictures."""
    y, x = (np.mgrid[0:size, 0:size] / np.float32(size)).astype(np.float32)
    image = np.full((size, size, 3), 0.5, np.float32)
    palette = r.uniform(0, 1, (8, 3)).astype(np.float32)
    for _ in range(90):
        radius = 0.02 / max(r.uniform(), 0.05) ** 0.9
        distance = np.hypot(
            x - np.float32(r.uniform()), (y - np.float32(r.uniform())) * np.float32(r.uniform(0.7, 1.4))
        )
        cover = np.clip(0.5 - (distance - np.float32(radius)) * size / 1.5, 0, 1)[..., None]
        shade = palette[r.integers(8)] * np.float32(r.uniform(0.6, 1.2)) + r.normal(0, 0.03, (size, size, 1)).astype(
            np.float32
        )
        image = image + (np.clip(shade, 0, 1) - image) * cover
    return image


def clouds(size: int, r: np.random.Generator) -> Field:
    """Coloured noise with a 1/f spectrum."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) + 1.0 / size
    waves = r.normal(size=(3, size, f.shape[1])) + 1j * r.normal(size=(3, size, f.shape[1]))
    planes = np.fft.irfft2(waves / f ** r.uniform(0.9, 1.6), s=(size, size))
    planes = planes / planes.std((1, 2), keepdims=True)
    mixed = np.tensordot(np.eye(3) * 0.4 + 0.6, planes, 1)
    tone = r.uniform(0.25, 0.75, 3) + r.uniform(0.05, 0.16) * mixed.transpose(1, 2, 0)
    return np.clip(tone, 0, 1).astype(np.float32)


def plain(size: int, r: np.random.Generator) -> Field:
    """A flat colour or a slow gradient."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = r.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle))[..., None] * r.uniform(0, 0.8)
    return np.clip(r.uniform(0, 1, 3) + along * r.normal(0, 0.6, 3), 0, 1).astype(np.float32)
