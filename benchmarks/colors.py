"""Two tables of docs/quality.md: the dial `style_strength`, and ways to keep the portrait's colours.

At 128 px through the demo model, colours on aligned pairs. Chroma is (a, b) of Lab. Writes OUT/colors.md, a sheet of
all ways, and the picture of the README.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _host import ROOT, load_pack
from PIL import Image, ImageOps
from truth.classical import monge_kantorovich
from truth.classifiers import train
from truth.curves import monotone
from truth.measures import directions, gradient_ssim, lab, patch_distance, texture_distance
from truth.methods import DEFAULT, Row, Setting, at_style_strength
from truth.pairs import IDENTITIES, pairs
from truth.report import FORMAT, SLACK
from truth.sheet import sheet
from truth.study import Study, pictures, planes

from demo.network import DEMO, Network
from demo.render.fields import Field
from demo.render.styles import KINDS
from magicstyle_core.sampling.color import transport
from magicstyle_core.sampling.fff import FeatureFusionForward

DIAL = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
STYLED = "`color` match (the style's colours)"
SETS = ("aligned", "misaligned")
SHOWN = (("hopper", "hatching"), ("astronaut", "mosaic"))  # portrait and style in the README's picture
MEASURES = ("color", "patch", "texture", "structure", "identity", "style")
LUMA = torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)


def dial(work: Study, references: str) -> list[str]:
    """A line for each value, and how many pairs fall all the way to 1, and from there on."""
    lines = [f"| {references} | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    rows = [Row(f"dial {v:g}", at_style_strength(DEFAULT, v)) for v in DIAL]
    for group, row in product(range(len(work.groups())), rows):  # the banks of a group are there once
        work.measure_group(row, references, group)
    values = [work.measure(row, references) for row in rows]
    for value, found in zip(DIAL, values, strict=True):
        cells = [format(float(found[name].mean()), FORMAT.get(name, ".0%")) for name in MEASURES]
        lines.append(f"| {value:g} | {' | '.join(cells)} |")
    one = DIAL.index(1.0)
    for name in ("color", "texture"):
        along = np.stack([found[name] for found in values])
        means = "falls" if monotone(along.mean(1), False) else "does not fall"
        for where, part in (("0 to 1", along[: one + 1]), ("1 to 2", along[one:])):
            strict, nearly = (sum(monotone(row, False, slack) for row in part.T) for slack in (0.0, SLACK))
            lines.append(f"{name}: the mean {means}; {where}: {strict} pairs fall, {nearly} within {SLACK:g} a step")
    return lines


@torch.no_grad()
def on_latents(work: Study, setting: Setting) -> list[Field]:
    """Finished latents transported to the portraits'.

    A setting of colour "match", whose pieces come in the style's colours, has transported them to the style's before.
    """
    drawn: list[Field] = []
    for first in range(0, len(work.pairs), IDENTITIES):
        some = work.pairs[first : first + IDENTITIES]
        content = work.network.invert(planes([pair.content for pair in some]), work.steps)
        style = work.network.invert(planes([pair.aligned for pair in some]), work.steps)
        way, denoise = content.trajectory, work.network.denoiser(setting.patches(work.network, content, style))
        forward = FeatureFusionForward(way, style.trajectory, setting.look)
        x = forward(denoise, way.latents[-1], way.sigmas.flip(0))
        drawn += pictures(work.network.codec.decode(transport(x, way.latents[0])))
    return drawn


def luma(image: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Luma of the one, colour differences of the other (YCbCr, BT.709), clipped."""
    grey, other = ((x * LUMA).sum(1, keepdim=True) for x in (image, content))
    return (grey + content - other).clamp(0, 1)


def keep_colors(image: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """What the node Keep Colors does; the pack must be loaded."""
    from magicstyle.nodes import colors

    return colors.keep_colors(image, content, 1.0)


def keeping(work: Study) -> dict[str, list[Field]]:
    """Pictures of all ways."""
    portraits, own = [pair.content for pair in work.pairs], DEFAULT.looking(color="none")
    styled, plain = (work.images(Row("", setting), "aligned") for setting in (DEFAULT, own))
    return {
        "the portrait itself": portraits,
        STYLED: styled,
        "`color` none": plain,
        "latent, pieces in the picture's colours": on_latents(work, own),
        "latent, pieces in the style's colours": on_latents(work, DEFAULT),
        "image, Transfer Color (`mkl_lab`)": [monge_kantorovich(*both) for both in zip(styled, portraits, strict=True)],
        "image, YCbCr": pictures(luma(planes(styled), planes(portraits))),
        "image, Lab": pictures(keep_colors(planes(styled), planes(portraits))),
        "image, Lab, from `color` none": pictures(keep_colors(planes(plain), planes(portraits))),
    }


def grey(image: Field) -> Field:
    """The picture's lightness alone, as a picture."""
    return pictures(keep_colors(planes([image]), torch.full((1, 3, 1, 1), 0.5)))[0]


def cloud_distance(a: Field, b: Field) -> float:
    """Sliced Wasserstein distance of the clouds of chroma, in Lab units."""
    first, second = (np.sort(lab(x)[..., 1:].reshape(-1, 2) @ directions(2, 16).T, 0) for x in (a, b))
    return float(np.abs(first - second).mean()) * np.pi / 2


def kept(work: Study, out: Path) -> list[str]:
    """A line for each way."""
    columns = ("chroma by place", "chroma cloud", "light off", "patch, light", "texture, light", "structure")
    lines = [f"| | {' | '.join(columns)} | identity | style |", "|---" * (len(columns) + 3) + "|"]
    ways, kinds = keeping(work), np.array([KINDS.index(pair.kind) for pair in work.pairs])
    for name, images in ways.items():
        rows = []
        for image, pair, styled in zip(images, work.pairs, ways[STYLED], strict=True):
            shades, wanted = grey(image), grey(pair.aligned)
            rows.append(
                (
                    np.linalg.norm(lab(image)[..., 1:] - lab(pair.content)[..., 1:], axis=2).mean(),
                    cloud_distance(image, pair.content),
                    np.abs(lab(image)[..., 0] - lab(styled)[..., 0]).mean(),
                    patch_distance(shades, wanted),
                    texture_distance(shades, wanted),
                    gradient_ssim(image, pair.content),
                )
            )
        cells = [f"{x:.2f}" for x in np.mean(rows, 0)]
        stacked = np.stack(images).astype(np.float32)
        right = work.classifiers.identity(stacked) == work.people, work.classifiers.style(stacked) == kinds
        lines.append(f"| {name} | {' | '.join([*cells, *(f'{np.mean(share):.0%}' for share in right)])} |")
        print(lines[-1], flush=True)
    columns = {"style": [pair.aligned for pair in work.pairs], **ways}
    sheet(list(columns), list(zip(*columns.values(), strict=True)), out / "colors.png")
    return lines


def shown(network: Network, out: Path, size: int = 192) -> None:
    """The README's picture: colours of the style, and the portrait's own."""

    def load(name: str) -> Field:
        with Image.open(ROOT / "assets" / f"{name}.jpg") as file:
            picture = ImageOps.fit(file.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        return np.array(picture, np.float32) / 255

    rows = []
    for portrait, style in SHOWN:
        both = load(f"portrait_{portrait}"), load(f"style_{style}")
        content, reference = (network.invert(planes([picture])) for picture in both)
        styled = network.stylize(content, DEFAULT.patches(network, content, reference), reference, DEFAULT.look)
        rows.append([*both, *pictures(styled), *pictures(keep_colors(styled, planes(both[:1])))])
    sheet(["portrait", "style", "stylized", "colours kept"], rows, out / "keep_colors.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=24)
    options = parser.parse_args()
    load_pack()
    torch.set_num_threads(1)
    work = Study(Network.load(DEMO), pairs(128, options.pairs), train(64, options.out), options.out / "rows")
    lines = [*kept(work, options.out), *(line for references in SETS for line in ("", *dial(work, references)))]
    shown(work.network, options.out)
    (options.out / "colors.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
