"""Renders whole faces with what is known of each: files of pictures beside files of their observations.

A file holds 300 people and 200 of them again in a style. What can be computed from a seed alone is not stored.

python3 -m demo.train.faces FOLDER SIZE FILES [--first N]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..render import render, scene
from ..render.fields import Field
from ..render.styles import apply, style
from .dataset import HELD_OUT_SCENES, HELD_OUT_STYLES, STYLE_SEEDS

PEOPLE, STYLED = 300, 200  # of one file
FIRST_SEED = 100_000  # the people of `dataset.picture` come before
PHOTO = "photo"  # the name of no style


@dataclass(frozen=True)
class Seen:
    """One picture: the scene's seed, the kind of style or "photo", and average colours of the unstyled portrait
    under the masks of hair, body and background, each (red, green, blue) in 0..1."""

    seed: int
    style: str
    hair: tuple[float, float, float]
    body: tuple[float, float, float]
    background: tuple[float, float, float]


def portraits(first: int, people: int, styled: int, size: int) -> Iterator[tuple[Field, Seen]]:
    """Pictures (size, size, 3) of `people` from seed `first` on, and the first `styled` of them again in a style.

    Styles are those of training for people of training, and held out for people held out.
    """
    styles = HELD_OUT_STYLES - HELD_OUT_SCENES if first >= HELD_OUT_SCENES else STYLE_SEEDS
    for seed in range(first, first + people):
        image, masks = render(scene(seed), size)
        colors = {name: _mean(image, masks[name]) for name in ("hair", "body", "background")}
        yield image, Seen(seed, PHOTO, **colors)
        if seed - first < styled:
            chosen = style(styles + seed)
            yield apply(chosen, image), Seen(seed, chosen.kind, **colors)


def _mean(image: Field, mask: Field) -> tuple[float, float, float]:
    red, green, blue = (image * mask[..., None]).sum((0, 1)) / max(float(mask.sum()), 1e-3)
    return round(float(red), 4), round(float(green), 4), round(float(blue), 4)


def collect(first: int, people: int, styled: int, size: int) -> tuple[np.ndarray, list[Seen]]:
    """The same as uint8 (people + styled, size, size, 3) and a list."""
    drawn = list(portraits(first, people, styled, size))
    return np.stack([np.uint8(image * 255.0 + 0.5) for image, _ in drawn]), [seen for _, seen in drawn]


def file_name(folder: Path, size: int, number: int) -> Path:
    """Name of the `number`-th file of pictures; the observations end in .json."""
    return folder / f"faces_{size}_{number:03d}.npy"


def finished(folder: Path, size: int) -> list[Path]:
    """Files of pictures whose observations are there too."""
    return sorted(path for path in folder.glob(f"faces_{size}_???.npy") if path.with_suffix(".json").exists())


def write(path: Path, images: np.ndarray, seen: Sequence[Seen]) -> None:
    """Keep pictures, then their observations, which complete the file."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, images)
    os.replace(partial, path)
    notes = path.with_suffix(".partial.json")
    notes.write_text(json.dumps([asdict(one) for one in seen]), encoding="utf-8")
    os.replace(notes, path.with_suffix(".json"))


def read_seen(path: Path) -> list[Seen]:
    """Observations of the pictures in `path`, in their order."""
    return [Seen(**entry) for entry in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))]


def build(folder: Path, size: int, files: int, first: int = 0) -> None:
    """Render whatever is missing of `files` files, starting with number `first`."""
    for number in range(first, first + files):
        path = file_name(folder, size, number)
        if not path.with_suffix(".json").exists():
            write(path, *collect(FIRST_SEED + number * PEOPLE, PEOPLE, STYLED, size))
            print(path.name, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.faces", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("files", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    build(options.folder, options.size, options.files, options.first)


if __name__ == "__main__":
    main()
