"""Pictures in a grid, each under its label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from .pictures import eight_bit

LEAST = 192  # pixels of a cell's longer side: smaller pictures are enlarged so that labels can be read
ACROSS = 5  # pictures in a line, where there is one row to break into lines
GAP = 8
PAPER, INK = (255, 255, 255), (20, 20, 20)


def labelled_grid(labels: Sequence[str], rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """One IMAGE ``(1,H,W,3)`` of ``rows`` of pictures ``(h,w,3)``, a label over each column.

    A single row is broken into lines. Cells have the shape of the first row's last picture; others are shown whole.
    """
    height, width = rows[0][-1].shape[:2]
    scale = max(1, -(-LEAST // max(height, width)))
    size = (width * scale, height * scale)
    if len(rows) > 1:
        lines = [_line([_cell(p, size) for p in row], labels if row is rows[0] else []) for row in rows]
    else:
        cells = [_cell(picture, size) for picture in rows[0]]
        starts = range(0, len(cells), ACROSS)
        lines = [_line(cells[start : start + ACROSS], labels[start : start + ACROSS]) for start in starts]
    page = Image.new("RGB", (max(line.width for line in lines), sum(line.height for line in lines) + GAP), PAPER)
    top = 0
    for line in lines:
        page.paste(line, (0, top))
        top += line.height
    return torch.from_numpy(np.array(page)).float()[None] / 255


def _line(cells: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures side by side with their labels above; without labels only the pictures."""
    width, height = cells[0].size
    text_size = max(14, width // 16)
    font = ImageFont.load_default(text_size)
    texts = [_wrapped(label, font, width) for label in labels]
    rows = max((text.count("\n") + 1 for text in texts), default=0)
    band = GAP + round(1.3 * text_size * rows)
    line = Image.new("RGB", (GAP + (width + GAP) * len(cells), band + height), PAPER)
    draw = ImageDraw.Draw(line)
    for column, cell in enumerate(cells):
        left = GAP + column * (width + GAP)
        line.paste(cell, (left, band))
        if texts:
            draw.multiline_text((left + width / 2, band - 4), texts[column], INK, font, anchor="md", align="center")
    return line


def _cell(picture: Tensor, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(eight_bit(picture[None])[0].numpy())
    return ImageOps.pad(image, size, Image.Resampling.BICUBIC, PAPER)


def _wrapped(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The label in lines that fit ``width`` pixels; a longer word keeps a line of its own."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
