"""Draws the contact sheet of portraits and styles.

python3 -m demo.render.sheet docs/images/render_sheet.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from .casting import scene
from .portrait import render
from .styles import KINDS, apply, style

COLUMNS = 8
STYLE_SEED = 9000


def sheet(size: int, people: int, first: int) -> np.ndarray:
    """Two rows of portraits, then for each of `people` the portrait and all styles: uint8 (H, W, 3)."""
    portraits = [render(scene(first + i), size)[0] for i in range(2 * COLUMNS)]
    tiles = list(portraits)
    for person in range(people):
        tiles.append(portraits[person])
        tiles += [apply(style(STYLE_SEED + 20 * person + k, kind), portraits[person]) for k, kind in enumerate(KINDS)]
        tiles += [np.ones_like(portraits[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[i : i + COLUMNS], 1) for i in range(0, len(tiles), COLUMNS)]
    return np.uint8(np.round(np.concatenate(rows) * 255))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.render.sheet", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--first", type=int, default=7001)
    options = parser.parse_args()
    Image.fromarray(sheet(options.size, options.people, options.first)).save(options.out, quality=85, optimize=True)


if __name__ == "__main__":
    main()
