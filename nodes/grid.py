"""Pictures in a grid, each under its label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from .pictures import eight_bit

LEAST = 192  # pixels of a cell's longer side: smaller pictures are enlarged so that labels can be read
MOST = 40_000_000  # pixels of all cells: larger pictures are made smaller, a grid takes half a gigabyte at most
ONE_ROW, ROWS = 5, 12  # pictures side by side, of one portrait and of several; more go on below
GAP = 8
PAPER, INK = (255, 255, 255), (20, 20, 20)


def labelled_grid(labels: Sequence[str], rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """One IMAGE ``(1,H,W,3)`` of ``rows`` of pictures ``(h,w,3)``, a label over each column.

    Columns that find no room beside the others go on below, with labels of their own. Cells have the shape of the first
    row's last picture; others are shown whole.
    """
    size = _cell_size(*rows[0][-1].shape[:2], count=len(rows) * len(labels))
    blocks = -(-len(labels) // (ROWS if len(rows) > 1 else ONE_ROW))
    across = -(-len(labels) // blocks)  # blocks of about the same width
    lines = []
    for start in range(0, len(labels), across):
        shown = slice(start, start + across)
        for number, row in enumerate(rows):
            lines.append(_line([_cell(picture, size) for picture in row[shown]], labels[shown] if number == 0 else []))
    page = Image.new("RGB", (max(line.width for line in lines), sum(line.height for line in lines) + GAP), PAPER)
    top = 0
    for line in lines:
        page.paste(line, (0, top))
        top += line.height
    return torch.from_numpy(np.array(page)).float()[None] / 255


def _cell_size(height: int, width: int, count: int) -> tuple[int, int]:
    """``(width, height)`` of a cell: pictures enlarged by a whole factor if small, made smaller if too many."""
    scale = max(1, -(-LEAST // max(height, width)))
    scale = min(scale, (MOST / (count * height * width)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _line(cells: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures side by side with their labels above; without labels only the pictures."""
    width, height = cells[0].size
    text_size = max(14, width // 16)
    font = ImageFont.load_default(text_size)
    texts = [wrapped(label, font, width) for label in labels]
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


def wrapped(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The label in lines that fit ``width`` pixels, broken at spaces, and within a word that is wider than that."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)
