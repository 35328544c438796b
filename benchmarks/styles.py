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
    from magicstyle.nodes.demo_model import LoadDemoModel
    from magicstyle.nodes.fusion import FFAAttentionPatch
    from magicstyle.nodes.inversion import DDIMInversion
    from magicstyle.nodes.sampling import FusedSampler
    from PIL import Image

    from demo.quality.sheet import sheet
    from demo.render import render, scene

    def run(node, **inputs) -> tuple:
        """Outputs of a node at its defaults, but for `inputs`."""
        defaults = {i.id: i.default for i in node.define_schema().inputs if getattr(i, "default", None) is not None}
        return node.execute(**defaults | inputs).args

    def load(file: Path) -> np.ndarray:
        picture = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        return np.array(picture, np.float32) / 255

    def invert(picture: np.ndarray):
        latent = {"samples": vae.encode(torch.from_numpy(picture)[None])}
        return run(DDIMInversion, model=model, latent=latent, layers="all")[0]  # as in workflows/magicstyle_demo.json

    def stylize(content, style) -> np.ndarray:
        (patched,) = run(FFAAttentionPatch, model=model, content_bank=content, style_bank=style)
        (latent,) = run(FusedSampler, model=patched, content_bank=content, style_bank=style)
        return vae.decode(latent["samples"])[0].numpy()

    with torch.inference_mode():
        model, vae = run(LoadDemoModel)
        pictures = [load(ASSETS / f"style_{name}.jpg") for name in styles]
        banks = [invert(picture) for picture in pictures]
        portraits = [load(file) for file in sorted(ASSETS.glob("portrait_*.jpg"))]
        portraits += [render(scene(seed), SIZE)[0] for seed in scenes]
        rows = [[np.ones_like(pictures[0]), *pictures]]
        for portrait in portraits:
            content = invert(portrait)
            rows.append([portrait, *(stylize(content, bank) for bank in banks)])
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
