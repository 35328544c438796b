"""A sheet of the demo model: every portrait of assets/ in some of its style pictures, at the nodes' defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
STYLES = ("woodcut", "hatching", "pastel", "mosaic", "watercolor", "neon")
SIZE = 192  # pixels
STEPS = 20


def main(out: Path, styles: list[str]) -> None:
    from _host import load_pack

    load_pack()
    import numpy as np
    import torch
    from magicstyle.nodes.demo_model import LoadDemoModel
    from magicstyle.nodes.fusion import FFAAttentionPatch
    from magicstyle.nodes.inversion import DDIMInversion
    from magicstyle.nodes.sampling import FusedSampler
    from PIL import Image

    model, vae = LoadDemoModel.execute().args

    def load(file: Path) -> torch.Tensor:
        picture = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(picture)).float()[None] / 255

    def invert(picture: torch.Tensor):
        latent = {"samples": vae.encode(picture)}
        return DDIMInversion.execute(model, latent, STEPS, "ddim_uniform", "exact", "all", "cpu", "fp16", 1).args[0]

    def stylize(content, style) -> torch.Tensor:
        patched = FFAAttentionPatch.execute(
            model, content, style, 0.8, 0.2, 1.0, 0.0, 1.0, "style", "stored", 1.0, "all", "all"
        ).args[0]
        sampled = FusedSampler.execute(patched, content, 1.0, 1.0, "adain", 1.0, 0, style_bank=style).args[0]
        return vae.decode(sampled["samples"])

    with torch.inference_mode():
        pictures = [load(ASSETS / f"style_{name}.jpg") for name in styles]
        banks = [invert(picture) for picture in pictures]
        rows = [torch.cat([torch.ones_like(pictures[0]), *pictures], 2)]
        for file in sorted(ASSETS.glob("portrait_*.jpg")):
            portrait = load(file)
            content = invert(portrait)
            rows.append(torch.cat([portrait, *(stylize(content, bank) for bank in banks)], 2))
    sheet = (torch.cat(rows, 1)[0] * 255).round().byte().numpy()
    Image.fromarray(sheet).save(out / "styles.jpg", quality=88)
    print(out / "styles.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--styles", default=",".join(STYLES), help="names of assets/style_<name>.jpg")
    options = parser.parse_args()
    main(options.out, options.styles.split(","))
