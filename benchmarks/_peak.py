"""Memory of this process at its highest, while something runs.

The kernel keeps the highest resident size of a process (VmHWM: anonymous memory and mapped pages of files) and lets it
be reset, so nothing between two samples is missed. Meanwhile the C library gives every block of 64 kB and more back
to the system as soon as it is freed: what is resident is then what is in use.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from _figures import Figure
from _literal import Literal
from _nodes import fuse, invert, sample
from _subjects import Subject

PROCESS = Path("/proc/self")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h


def can_measure() -> bool:
    """Whether this system counts so; otherwise says that it does not."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        print("Peak memory is not measured: this system does not let a process reset its highest resident size.")
        return False
    return True


@contextmanager
def returned_at_once() -> Iterator[None]:
    """Freed blocks go back to the system at once; afterwards they may be kept as they are by default."""
    libc = ctypes.CDLL(None)
    for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        libc.mallopt(parameter, 1 << 16)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, 64 << 20)
        libc.mallopt(MMAP_THRESHOLD, 32 << 20)


def peak(run: Callable[[], object]) -> int:
    """Bytes by which the process grew at its highest while ``run`` ran; its result is let go at the end."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (PROCESS / "clear_refs").write_text("5")
    before = _resident("VmRSS")
    result = run()
    highest = _resident("VmHWM")
    del result
    return highest - before


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def memory_figures(subject: Subject, steps: int) -> list[Figure]:
    """Peaks of whole runs against those of plain ones, on the disk tier and of the literal method."""
    whole = {"method": "ddim", "scheduler": "simple", "end_percent": 1.0}
    with returned_at_once():
        content, style = invert(subject, steps, **whole, storage="disk")  # also warms up
        one_step = (content.store.bytes + style.store.bytes) / steps
        fused = fuse(subject.model, content, style, queries="stored")
        default = fuse(subject.model, content, style)
        sample(default, content, style)
        plain_two = peak(lambda: invert(subject, steps, **{**whole, "layers": "none"}))
        capture = peak(lambda: invert(subject, steps, **whole, storage="disk"))
        plain = peak(lambda: sample(subject.model, content))
        stored = peak(lambda: sample(fused, content))
        matched = peak(lambda: sample(default, content))
        ours = peak(lambda: _portrait(subject, steps, whole))
        literal = peak(lambda: _literal_portrait(subject, steps))

    def above(name: str, run: int, base: int) -> Figure:
        name = f"peak above a plain step's, disk: {name}, in steps of features"
        return Figure(subject.name, name, (run - base) / one_step, most=2)

    return [
        above("capture", capture, plain_two),
        above("fused (stored)", stored, plain),
        above("fused (matched)", matched, plain),
        Figure(subject.name, f"peak of a whole portrait, {steps} steps in RAM, ours / literal", ours / literal),
        Figure(subject.name, "features of a step, both pictures", one_step / 1e6, unit=" MB"),
        Figure(subject.name, "peak of a plain step, two pictures", plain_two / 1e6, unit=" MB"),
    ]


def _portrait(subject: Subject, steps: int, whole: dict) -> None:
    content, style = invert(subject, steps, **whole, storage="cpu")
    sample(fuse(subject.model, content, style, queries="stored"), content)


def _literal_portrait(subject: Subject, steps: int) -> None:
    literal = Literal(subject, steps)
    literal.invert()
    literal.sample()
