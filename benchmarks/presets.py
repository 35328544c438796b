"""docs/presets.md: every method of FFA Attention Patch on the demo model, a strip of pictures each, and what it is.

Runs the pack's own nodes. Writes OUT/presets.md and OUT/images/preset_*.jpg, and OUT/images/presets.jpg, which shows
all methods side by side. With ``--out docs`` that is the page of the repository.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
PORTRAITS = ("hopper", "astronaut")
STYLES = ("woodcut", "halftone", "mosaic", "pastel")
SIZE = 128
QUALITY = 80  # of the JPEGs

HEAD = """\
# Methods in pictures

Every method of **FFA Attention Patch** at the values that its authors published, on the demo model at {size} px and 20
steps; Fused Sampler starts and ends *as the method*. The demo model is small and no Stable Diffusion: it shows what a
method does with a style, not how well it paints. Layers are resolved by resolution; the demo model has two, so that
*high-res decoder* and *decoder* are the same there. Made by `python3 dev.py bench presets --out docs`.

Self-attention is `A(Q, K, V) = softmax(Q K^T / sqrt(d)) V`; `c` is the portrait, `s` the style, no index the running
image. A picture costs 20 evaluations after the inversion, also where two attentions are computed, and fewer where the
look skips a part of the way.

![all methods on one portrait and two styles](images/presets.jpg)

| method | source | its attention | layers | look |
|---|---|---|---|---|
"""

# What one sees, and what of the published method is not part of it here.
SEEN = {
    "MagicStyle": (
        "Strokes, dots, tiles and colours of the style on a face that stays readable; likeness suffers under "
        "the coarsest dots. Not in the paper: matched queries, colours on the finished latent, pieces of the "
        "style."
    ),
    "MagicStyle, as published": (
        "The face stays whole; colours come half way, strokes are faint. More `beta` brings more, and the "
        "style picture's layout with it."
    ),
    "MagicStyle, joined keys": (
        "Nearly the portrait, tinted: its queries resemble its own keys most and read little else, even with "
        "a style key weighing four. At 50 some strokes come."
    ),
    "MagicStyle, sum of attentions": (
        "Half of the attention stays with the portrait: a veil of colour, strokes fainter still."
    ),
    "StyleID": (
        "Clear strokes and colours on a face that stays sharp, the nearest of the others to this pack's "
        "default. StyleID inverts by DDIM without residuals, as here with method `ddim`."
    ),
    "PortraitDiffusion": (
        "Strong strokes and a firm drawing; colours stay near the portrait's, because the initial noise is "
        "its own. Masks and its stylized content branch are not part of it."
    ),
    "MasaCtrl": (
        "Everything is rebuilt from the style; faces dissolve in coarse patterns. It was made for edits of "
        "one picture, not for styles. Its masks are not part of it."
    ),
    "Visual Style Prompting": (
        "As MasaCtrl, from the first step on and in the whole decoder. The method itself noises the reference"
        " instead of inverting it, and samples from a prompt."
    ),
    "Cross-image attention": (
        "The strongest texture and contrast, and the least of the face. AdaIN at every step and swap guidance"
        " are not part of it; `rows` = `positive` at a cfg of 1.75 to 3.5 is that guidance."
    ),
    "ZePo": (
        "Almost the portrait, because it starts half way. From the noise on (a look of Fused Sampler's own) it paints "
        "strongly. The method runs on a distilled model with features of noised, not inverted, pictures."
    ),
    "StyleAligned": (
        "Strokes and patterns of the style in the portrait's colours; the statistics of queries and keys tie "
        "the image to the reference. Made for pictures generated side by side."
    ),
    "DiffStyler": (
        "The portrait, by construction: its layout is held, and the style has to come from a LoRA on the model."
    ),
    "Standard attention": "Colours alone: what a patch adds is everything beyond this.",
}


def main(out: Path) -> None:
    from _host import load_pack

    load_pack()
    import numpy as np
    import torch
    from _painter import Painter
    from magicstyle.magicstyle_core.methods import METHODS
    from PIL import Image
    from truth.sheet import sheet

    def save(columns, rows, name: str) -> None:
        folder = out / "images"
        folder.mkdir(parents=True, exist_ok=True)
        sheet(columns, rows, folder / f"{name}.png")
        Image.open(folder / f"{name}.png").save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
        (folder / f"{name}.png").unlink()

    with torch.inference_mode():
        painter = Painter(SIZE)
        portraits = [painter.load(ASSETS / f"portrait_{name}.jpg") for name in PORTRAITS]
        styles = [painter.load(ASSETS / f"style_{name}.jpg") for name in STYLES]
        contents, banks = ([painter.invert(p) for p in pictures] for pictures in (portraits, styles))
        blank, drawn = np.ones_like(styles[0]), {}
        for name in METHODS:
            print(name, flush=True)
            drawn[name] = [[painter.stylize(content, bank, name) for bank in banks] for content in contents]
            rows = [[blank, *styles], *([p, *row] for p, row in zip(portraits, drawn[name], strict=True))]
            save(["portrait", *STYLES], rows, file_of(name))
    overview = [[portraits[0], styles[i], *(drawn[name][0][i] for name in METHODS)] for i in range(2)]
    half = 1 + (len(METHODS) + 2) // 2
    columns = ["portrait", "style", *METHODS]
    save_in_lines(sheet, columns, overview, half, out / "images")
    (out / "presets.md").write_text(page(METHODS), encoding="utf-8")
    print(out / "presets.md")


def save_in_lines(sheet, columns, rows, half: int, folder: Path) -> None:
    """Too many columns for one page: two sheets, one below the other."""
    from PIL import Image

    parts = []
    for first in (0, half):
        part = folder / f"part_{first}.png"
        sheet(columns[first : first + half], [row[first : first + half] for row in rows], part)
        with Image.open(part) as picture:
            parts.append(picture.convert("RGB"))
        part.unlink()
    page = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), "white")
    page.paste(parts[0], (0, 0))
    page.paste(parts[1], (0, parts[0].height))
    page.save(folder / "presets.jpg", quality=QUALITY, optimize=True)


def file_of(name: str) -> str:
    return "preset_" + re.sub(r"\W+", "_", name.lower())


def page(methods) -> str:
    """The table and a section for every method."""
    lines = [HEAD.format(size=SIZE).rstrip("\n")]
    for name, method in methods.items():
        parts = method.parts(**{dial.name: dial.default for dial in method.dials})
        layers = " and ".join(dict.fromkeys(part.layers for part in parts))
        lines.append(f"| {name} | {method.source} | `{method.formula}` | {layers} | {seen_as(method.look)} |")
    for name, method in methods.items():
        shown = ", ".join(f"{dial.name} {short(dial.default)}" for dial in method.dials) or "no dials"
        picture = f"![{name}](images/{file_of(name)}.jpg)"
        lines += ["", f"## {name}", "", f"{method.text} Shown: {shown}.", "", picture]
        lines += ["", SEEN[name]] if name in SEEN else []
    return "\n".join(lines) + "\n"


def seen_as(look) -> str:
    """A look in words."""
    words = [f"colour {look.color}", f"detail {look.detail:g}"] + [f"texture {look.texture:g}"] * bool(look.texture)
    return ", ".join(words + [f"skips {look.skipped:.0%}"] * bool(look.skipped))


def short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    main(parser.parse_args().out)
