"""Loss curve of all stages as a PNG.

python3 -m demo.train.curve FOLDER curve.png
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 900, 420, 56
COLORS = {"loss": (60, 110, 190), "held_out": (200, 80, 50)}


def read(folder: Path) -> list[dict]:
    """Journal entries of all stages in order, with `samples` counted from the first."""
    entries, before = [], 0
    for path in sorted(folder.glob("stage*.jsonl"), key=lambda p: p.stat().st_ctime):
        stage = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for entry in stage:
            entry["samples"] = before + entry["samples_per_second"] * entry["seconds"]
        before = stage[-1]["samples"] if stage else before
        entries += stage
    return entries


def draw(entries: list[dict]) -> Image.Image:
    """Loss against pictures seen: logarithmic in the loss, linear in the pictures."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    losses = [e[k] for e in entries for k in COLORS if k in e]
    low, high = math.log(min(losses) * 0.95), math.log(max(losses) * 1.05)
    last = max(e["samples"] for e in entries)

    def place(samples: float, loss: float) -> tuple[float, float]:
        x = MARGIN + samples / last * (WIDTH - 1.5 * MARGIN)
        return x, HEIGHT - MARGIN - (math.log(loss) - low) / (high - low) * (HEIGHT - 1.5 * MARGIN)

    for level in (0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0):
        if low < math.log(level) < high:
            y = place(0, level)[1]
            pen.line([(MARGIN, y), (WIDTH - MARGIN / 2, y)], fill=(225, 225, 225))
            pen.text((14, y - 6), f"{level:g}", fill="black")
    for i in range(5):
        pen.text(
            (place(last * i / 4, math.exp(low))[0] - 14, HEIGHT - MARGIN + 10), f"{last * i / 4000:.0f} k", fill="black"
        )
    for row, (key, tint) in enumerate(COLORS.items()):
        points = [place(e["samples"], e[key]) for e in entries if key in e]
        if len(points) > 1:
            pen.line(points, fill=tint, width=2)
        pen.text(
            (WIDTH - 170, 14 + 16 * row), {"loss": "training", "held_out": "held out, averaged weights"}[key], fill=tint
        )
    pen.text((WIDTH / 2 - 40, HEIGHT - 22), "pictures seen", fill="black")
    pen.text((8, 8), "eps loss", fill="black")
    return image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.curve", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    draw(read(options.folder)).save(options.out)


if __name__ == "__main__":
    main()
