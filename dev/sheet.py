"""Put pictures on a sheet, each with a label below. Run with a Python that has Pillow:
``python sheet.py OUT.png HEIGHT "label=file" ... / "label=file" ...``; ``/`` begins a row, ``=`` is an empty place.

All are cropped about their centre to the shape of the last, as the graphs crop what they load.
"""

from __future__ import annotations

import itertools
import sys

from PIL import Image, ImageDraw, ImageFont, ImageOps

GAP, BAND = 12, 36
Cell = tuple[str, Image.Image | None]


def sheet(rows: list[list[Cell]], height: int) -> Image.Image:
    """A white sheet of pictures ``height`` pixels high."""
    last = rows[-1][-1][1]
    assert last is not None
    width = round(last.width * height / last.height)
    across, down = width + GAP, height + GAP + BAND
    page = Image.new("RGB", (max(map(len, rows)) * across + GAP, len(rows) * down), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=20)
    for i, row in enumerate(rows):
        for j, (label, picture) in enumerate(row):
            left, top = GAP + j * across, GAP + i * down
            if picture is not None:
                page.paste(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS), (left, top))
            draw.text((left + width / 2, top + height + BAND / 2 - GAP / 2), label, "black", font, anchor="mm")
    return page


def _cell(argument: str) -> Cell:
    label, file = argument.split("=", 1)
    return label, ImageOps.exif_transpose(Image.open(file)).convert("RGB") if file else None


def main(out: str, height: str, *cells: str) -> None:
    rows = [list(row) for slash, row in itertools.groupby(cells, "/".__eq__) if not slash]
    sheet([[_cell(cell) for cell in row] for row in rows], int(height)).save(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
