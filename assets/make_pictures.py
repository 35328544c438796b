"""Draws this folder's rendered pictures: portraits, and others in one style each. Needs numpy, scipy, Pillow.

python3 assets/make_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from demo.render import render, scene  # noqa: E402
from demo.render.fields import Field  # noqa: E402
from demo.render.styles import apply, style  # noqa: E402

SIZE = 512
PEOPLE = {"woman": 2_000_052, "man": 2_000_054}  # seeds, held out from the demo model's training
STYLES = {  # kind: (seed of the portrait, seed of the style)
    "oil": (7005, 9004),
    "watercolor": (7004, 9003),
    "hatching": (7006, 9005),
    "halftone": (7008, 9007),
    "neon": (7007, 9006),
    "woodcut": (7005, 9004),
    "mosaic": (7006, 9005),
    "pastel": (7004, 9003),
}


def main() -> None:
    """Write rendered_<name>.jpg for every person and style_<kind>.jpg for every kind."""
    for name, seed in PEOPLE.items():
        _save(f"rendered_{name}", render(scene(seed), SIZE)[0])
    for kind, (person, look) in STYLES.items():
        _save(f"style_{kind}", apply(style(look, kind), render(scene(person), SIZE)[0]))


def _save(name: str, image: Field) -> None:
    path = HERE / f"{name}.jpg"
    Image.fromarray(np.uint8(np.round(image * 255))).save(path, quality=88, optimize=True)
    print(path.name)


if __name__ == "__main__":
    main()
