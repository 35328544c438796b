"""The trade-off between keeping the drawing and taking the style, one line per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PIXELS = (1000, 700)
DPI = 100
WIDE = 3.0  # distances that differ by more than this factor get a logarithmic axis
MARKERS = "osD^vPXhd*"
COLORS = (  # Paul Tol, bright and vibrant
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB", "#222222", "#EE7733", "#009988",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """structure: how much of the content's drawing is left, 1 for all; distance: to the style; label: at the marker."""

    structure: float
    distance: float
    label: str = ""


def tradeoff(curves: Mapping[str, Sequence[Point]], path: Path, title: str) -> None:
    """Write a PNG of 1000 x 700 pixels: structure kept to the right, distance to the style upwards; a method is better
    the further right and down it lies. A method of one point is a marker without a line."""
    # Here, because matplotlib is there for the benchmark only, not for tests.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure((PIXELS[0] / DPI, PIXELS[1] / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (name, points) in enumerate(curves.items()):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        x, y = [p.structure for p in points], [p.distance for p in points]
        line = "-" if len(points) > 1 else ""
        axes.plot(x, y, line, marker=marker, markersize=8, linewidth=2, color=color, label=name)
    axes.margins(x=0.1, y=0.12)
    heights = [p.distance for points in curves.values() for p in points]
    if heights and max(heights) > WIDE * min(heights) > 0:  # else unstyled pictures press all others together
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _label(axes, [(p, COLORS[i % len(COLORS)]) for i, points in enumerate(curves.values()) for p in points])
    axes.set_xlabel("structure kept (gradient SSIM to the content)", fontsize=13)
    axes.set_ylabel("patch distance to the style (Lab units)", fontsize=13)
    axes.set_title(title, fontsize=15)
    axes.tick_params(labelsize=12)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.annotate("better", (0.985, 0.02), xycoords="axes fraction", ha="right", fontsize=12, color="#666666")
    figure.legend(loc="outside right upper", fontsize=11, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _label(axes, points: Sequence[tuple[Point, str]]) -> None:
    """Write each point's label at that place around it where it covers least of the markers and other labels."""
    axes.figure.canvas.draw()  # settles the scale
    spots = axes.transData.transform([(p.structure, p.distance) for p, _ in points]) if points else []
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in spots]
    for (point, color), (x, y) in zip(points, spots, strict=True):
        if not point.label:
            continue
        wide, high = 8.2 * len(point.label), 16.0  # pixels, about
        places = [(10, -5), (-10 - wide, -5)]
        places += [(dx, dy) for dy in (10, -26, 28, -44) for dx in (-wide / 2, 4, -4 - wide)]
        boxes = [(x + dx, y + dy, x + dx + wide, y + dy + high) for dx, dy in places]
        box = min(boxes, key=lambda b: sum(_overlap(b, t) for t in taken))
        taken.append(box)
        offset = ((box[0] - x) * 72 / DPI, (box[1] - y) * 72 / DPI)
        where = (point.structure, point.distance)
        axes.annotate(point.label, where, offset, textcoords="offset points", fontsize=11, color=color)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Common area of two boxes (left, bottom, right, top)."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
