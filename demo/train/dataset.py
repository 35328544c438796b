"""Renders the training pictures into files of 500; finished files are kept, so that it resumes."""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..render import render, scene
from ..render.backend import on_device
from ..render.fields import Field
from ..render.styles import apply, style
from . import natural

if TYPE_CHECKING:
    import torch

ASSETS = Path(__file__).resolve().parents[2] / "assets"
PER_FILE = 500
FACES_PER_SCENE = 3  # each portrait is drawn once and used this often, in different styles
HELD_OUT_SCENES = 2_000_000  # identities from here on are never trained on
HELD_OUT_STYLES = 3_000_000  # likewise styles
STYLE_SEEDS = 1_000_000
TRAINING_PICTURES = HELD_OUT_STYLES - STYLE_SEEDS  # indices below this meet no person and no style held out
SHARES = {"portrait": 0.24, "styled": 0.62, "photo": 0.06, "leaves": 0.03, "clouds": 0.02, "plain": 0.03}
OTHERS = {"photo": 0.43, "leaves": 0.21, "clouds": 0.15, "plain": 0.21}  # the same without portraits
FIRST_OTHER = 1_500_000  # index of the first of those


def picture(
    index: int,
    size: int,
    photos: list,
    faces: dict[int, Any],
    device: torch.device | str | None = None,
    shares: dict[str, float] = SHARES,
) -> Any:
    """Training picture `index` (size, size, 3) in 0..1. `faces` remembers the latest portrait.

    A NumPy array, or a torch tensor on `device`, where portraits and styles are drawn; the rest is moved there.
    """
    r, xp = np.random.default_rng((index, 11)), on_device(device)
    kind = str(r.choice(list(shares), p=list(shares.values())))
    if kind == "photo":
        image = xp.asarray(natural.photo_crop(photos, size, r))
        return apply(style(STYLE_SEEDS + index), image) if r.uniform() < 0.4 else image
    if kind in ("leaves", "clouds", "plain"):
        draw = {"leaves": natural.dead_leaves, "clouds": natural.clouds, "plain": natural.plain}[kind]
        return xp.asarray(draw(size, r))
    seed = index // FACES_PER_SCENE
    if seed not in faces:
        faces.clear()
        faces[seed] = render(scene(seed), size, device)[0]
    return apply(style(STYLE_SEEDS + index), faces[seed]) if kind == "styled" else faces[seed]


def write_file(path: Path, first: int, size: int, shares: dict[str, float] = SHARES) -> Path:
    """Render pictures first .. first + 499 into one .npy of uint8 (500, size, size, 3)."""
    photos, faces = natural.photographs(ASSETS), {}
    images = np.empty((PER_FILE, size, size, 3), np.uint8)
    for i in range(PER_FILE):
        images[i] = np.clip(picture(first + i, size, photos, faces, shares=shares) * 255.0 + 0.5, 0, 255)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, images)
    os.replace(partial, path)
    return path


def file_name(folder: Path, size: int, number: int, mix: str = "pictures") -> Path:
    """Name of the `number`-th file of pictures of `size`; the mix "others" has no portraits."""
    return folder / f"{mix}_{size}_{number:03d}.npy"


def finished(folder: Path, size: int, mix: str = "pictures") -> list[Path]:
    """Files rendered so far."""
    return sorted(p for p in folder.glob(f"{mix}_{size}_*.npy") if "partial" not in p.name)


def build(folder: Path, size: int, files: int, first_file: int = 0, workers: int = 2) -> None:
    """Render whatever is missing of `files` files, starting with `first_file`."""
    numbers = range(first_file, first_file + files)
    missing = [n for n in numbers if not file_name(folder, size, n).exists()]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(write_file, file_name(folder, size, n), n * PER_FILE, size) for n in missing]
        for job in as_completed(jobs):
            print(job.result().name, flush=True)


def build_others(folder: Path, size: int, files: int) -> None:
    """Render whatever is missing of `files` files of pictures that are no portraits."""
    for number in range(files):
        path = file_name(folder, size, number, "others")
        if not path.exists():
            print(write_file(path, FIRST_OTHER + number * PER_FILE, size, OTHERS).name, flush=True)


def held_out(count: int, size: int, first: int = 0) -> tuple[list[Field], list[Field]]:
    """`count` portraits and styled pictures of identities and style parameters that training never sees."""
    portraits = [render(scene(HELD_OUT_SCENES + first + i), size)[0] for i in range(count)]
    styled = [apply(style(HELD_OUT_STYLES + first + i), image) for i, image in enumerate(portraits)]
    return portraits, styled


def main() -> None:
    """Command line: python3 -m demo.train.dataset FOLDER SIZE FILES [--first N] [--workers N]."""
    parser = argparse.ArgumentParser(description="Render training pictures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("files", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    build(options.folder, options.size, options.files, options.first, options.workers)


if __name__ == "__main__":
    main()
