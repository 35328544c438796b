"""Put pictures side by side, each with a label. Run with a Python that has Pillow:
``python sheet.py OUT.png "label=file" ...``

All are cropped about their centre to the shape of the last, as the graphs crop what they load.
"""

from __future__ import annotations

import sys

from PIL import Image, ImageDraw, ImageFont, ImageOps

HEIGHT, GAP, BAND = 512, 12, 36


def sheet(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """A white sheet: the pictures in a row, their labels below."""
    last = pictures[-1][1]
    size = (round(last.width * HEIGHT / last.height), HEIGHT)
    scaled = [(label, ImageOps.fit(p, size, Image.Resampling.LANCZOS)) for label, p in pictures]
    width = sum(p.width for _, p in scaled) + GAP * (len(scaled) + 1)
    page = Image.new("RGB", (width, HEIGHT + GAP + BAND), "white")
    draw, font, left = ImageDraw.Draw(page), ImageFont.load_default(size=20), GAP
    for label, picture in scaled:
        page.paste(picture, (left, GAP))
        draw.text((left + picture.width / 2, GAP + HEIGHT + BAND / 2), label, "black", font, anchor="mm")
        left += picture.width + GAP
    return page


def main(arguments: list[str]) -> None:
    pairs = [argument.split("=", 1) for argument in arguments[1:]]
    opened = [(label, ImageOps.exif_transpose(Image.open(file)).convert("RGB")) for label, file in pairs]
    sheet(opened).save(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
