"""A sheet of the demo model: photographs and rendered portraits in style pictures, at the nodes' defaults."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
STYLES = ("woodcut", "hatching", "oil", "mosaic", "pastel", "neon")
SCENES = (2_000_052, 2_000_054)  # held out from training
SIZE = 192  # pixels
QUALITY = 67  # of the JPEG, which the README shows: below 300 kB


def main(out: Path, styles: list[str], scenes: list[int]) -> None:
    from _host import load_pack

    load_pack()
    sys.path.append(str(ROOT))  # not first: nodes/ would hide the host's nodes.py
    import numpy as np
    import torch
    from _painter import Painter
    from PIL import Image

    from demo.quality.sheet import sheet
    from demo.render import render, scene

    with torch.inference_mode():
        painter = Painter(SIZE)
        pictures = [painter.load(ASSETS / f"style_{name}.jpg") for name in styles]
        banks = [painter.invert(picture) for picture in pictures]
        portraits = [painter.load(file) for file in sorted(ASSETS.glob("portrait_*.jpg"))]
        portraits += [render(scene(seed), SIZE)[0] for seed in scenes]
        rows = [[np.ones_like(pictures[0]), *pictures]]
        for portrait in portraits:
            content = painter.invert(portrait)
            rows.append([portrait, *(painter.stylize(content, bank) for bank in banks)])
    sheet(["portrait", *styles], rows, out / "styles.png")
    Image.open(out / "styles.png").save(out / "styles.jpg", quality=QUALITY, optimize=True)
    print(out / "styles.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--styles", default=",".join(STYLES), help="names of assets/style_<name>.jpg")
    parser.add_argument("--scenes", default=",".join(map(str, SCENES)), help="seeds of rendered portraits")
    options = parser.parse_args()
    main(options.out, options.styles.split(","), [int(seed) for seed in options.scenes.split(",") if seed])
