"""Turn the server's events into printed progress and a table of times."""

from __future__ import annotations

import statistics
import sys

from .client import Event
from .report import say

SHORT = 0.05  # seconds: not worth a line


class Timeline:
    """Follows a run: when each node began and ended, and when each of its steps was done."""

    def __init__(self, titles: dict[str, str]) -> None:
        self.titles = titles
        self.running: str | None = None
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.steps: dict[str, list[float]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "executing":
            self._end(event.time)
            self.running = event.node
            if event.node:
                self.began[event.node] = event.time
        elif event.kind.startswith("execution_") and event.kind not in (
            "execution_start",
            "execution_cached",
        ):
            self._end(event.time)
        elif event.kind == "progress" and event.node:
            self.steps.setdefault(event.node, []).append(event.time)
            if sys.stdout.isatty():
                sys.stdout.write(
                    f"\r  {self._title(event.node)}: {event.data['value']}/{event.data['max']}   "
                )
                sys.stdout.flush()

    def _title(self, node: str) -> str:
        return self.titles.get(node, node)

    def _end(self, time: float) -> None:
        if node := self.running:
            self.running = None
            self.ended[node] = time
            if self.seconds(node) < SHORT:
                return
            steps = f" ({len(self.steps[node])} steps)" if node in self.steps else ""
            start = "\r" if sys.stdout.isatty() else ""
            say(f"{start}  {self._title(node)}: {self.seconds(node):.1f} s{steps}")

    def seconds(self, node: str) -> float:
        return self.ended[node] - self.began[node]

    def per_step(self, node: str) -> float | None:
        """Median time between the ends of two steps, so without the first, which includes loading."""
        times = self.steps.get(node, [])
        gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
        return statistics.median(gaps) if gaps else None


def table(timeline: Timeline, inversion: str, fused: str, plain: str) -> str:
    """Seconds of the three parts, per step, and what fusing costs."""
    rows = [("", "seconds", "per step")]
    parts = (
        ("inversion (content + style)", inversion),
        ("sampling with style", fused),
        ("sampling without style", plain),
    )
    for name, node in parts:
        step = timeline.per_step(node)
        rows.append((name, f"{timeline.seconds(node):.2f}", f"{step:.3f}" if step else "-"))
    lines = [f"{name:<28} {seconds:>8} {step:>9}" for name, seconds, step in rows]
    with_style, without = timeline.per_step(fused), timeline.per_step(plain)
    if with_style and without:
        lines.append(f"A fused step takes {with_style / without:.2f} times as long as a plain one.")
    return "\n".join(lines)
