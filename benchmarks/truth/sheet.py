"""A contact sheet with named columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from demo.render.fields import Field

GAP = 4  # pixels between pictures
LEAST = 128  # smaller pictures are enlarged by a whole factor, so that names fit and pixels stay visible
FONT = 14  # pixels
LINE = 18


def sheet(columns: Sequence[str], rows: Sequence[Sequence[Field]], path: Path) -> None:
    """Write `rows` of pictures (S, S, 3) in 0..1 under the names of their columns, in the format of the file's name.

    Names that are too wide for a column are broken at spaces. All pictures have one size.
    """
    if wrong := [len(row) for row in rows if len(row) != len(columns)]:
        raise ValueError(f"Expected {len(columns)} pictures in each row; got a row of {wrong[0]}.")
    if not rows or not columns:
        raise ValueError("A sheet needs at least one column and one row.")
    sizes = {image.shape for row in rows for image in row}
    if len(sizes) != 1:
        raise ValueError(f"Expected pictures of one size; got {sorted(sizes)}.")
    font = ImageFont.load_default(FONT)
    factor = -(-LEAST // len(rows[0][0]))
    side = len(rows[0][0]) * factor
    heads = [_broken(name, side, font) for name in columns]
    top = LINE * max(len(lines) for lines in heads) + GAP
    page = Image.new("RGB", (len(columns) * (side + GAP) + GAP, top + len(rows) * (side + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for i, lines in enumerate(heads):
        middle = GAP + i * (side + GAP) + side / 2
        for k, line in enumerate(lines):
            draw.text((middle, top - GAP - LINE * (len(lines) - k)), line, "black", font, anchor="ma")
        for j, row in enumerate(rows):
            page.paste(_picture(row[i], side), (GAP + i * (side + GAP), top + j * (side + GAP)))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=92)


def _picture(image: Field, side: int) -> Image.Image:
    pixels = np.uint8(np.clip(image, 0.0, 1.0) * 255.0 + 0.5)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def _broken(name: str, width: int, font) -> list[str]:
    """`name` in lines no wider than `width` pixels where its spaces allow."""
    lines: list[str] = []
    for word in name.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
