"""Memory of this process at its highest, while something runs.

The kernel keeps the highest resident size of a process (VmHWM: anonymous memory and mapped pages of files) and lets
it be reset, so nothing between two samples is missed. Meanwhile the C library gives blocks back to the system, and
pages of code are locked in memory so that they neither come nor go: what is resident is what is in use.
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
from _steps import STORED
from _subjects import Subject

PROCESS = Path("/proc/self")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
BLOCK = 1 << 12  # bytes from which a block is mapped by itself


def can_measure() -> bool:
    """Whether this system counts so; otherwise says that it does not."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        print("Peak memory is not measured: this system does not let a process reset its highest resident size.")
        return False
    return True


@contextmanager
def only_what_is_used() -> Iterator[None]:
    """Freed blocks go back to the system at once; afterwards they may be kept as they are by default.

    Without the right to lock memory, pages of code that come and go blur what is measured by some MB.
    """
    libc = ctypes.CDLL(None)
    for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        libc.mallopt(parameter, BLOCK)
    code = [(ctypes.c_void_p(start), ctypes.c_size_t(end - start)) for start, end in _code()]
    for place in code:
        libc.mlock(*place)
    try:
        yield
    finally:
        for place in code:
            libc.munlock(*place)
        libc.mallopt(TRIM_THRESHOLD, 64 << 20)
        libc.mallopt(MMAP_THRESHOLD, 32 << 20)


def _code() -> Iterator[tuple[int, int]]:
    """Where files are mapped that are no data of ours: programs and libraries."""
    for line in (PROCESS / "maps").read_text().splitlines():
        place, _, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and ".safetensors" not in path[0]:
            start, end = place.split("-")
            yield int(start, 16), int(end, 16)


def peak(run: Callable[[], object]) -> int:
    """Bytes by which the process grew at its highest while ``run`` ran; its result is let go at the end."""
    before = settled()
    return highest(run) - before


def highest(run: Callable[[], object]) -> int:
    """Bytes of the whole process at its highest while ``run`` ran."""
    settled()
    (PROCESS / "clear_refs").write_text("5")
    result = run()
    most = _resident("VmHWM")
    del result
    return most


def least(run: Callable[[], object], rounds: int = 3) -> int:
    """The lowest of several peaks: what else the process and the system do at times only adds to one."""
    return min(highest(run) for _ in range(rounds))


def settled() -> int:
    """Bytes of the process when everything that can go is gone."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _resident("VmRSS")


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def memory_figures(subject: Subject, steps: int) -> list[Figure]:
    """Peaks of whole runs against those of plain ones, on the disk tier and of the literal method."""
    whole = {"method": "ddim", "scheduler": "simple", "end_percent": 1.0}
    warm = invert(subject, steps, **whole, storage="disk")
    sample(fuse(subject.model, *warm), warm[0])
    del warm  # with the pages of its files that are mapped
    with only_what_is_used():
        start = settled()
        plain_two = least(lambda: invert(subject, steps, **{**whole, "layers": "none"}))
        capture = least(lambda: invert(subject, steps, **whole, storage="disk"))
        content, style = invert(subject, steps, **whole, storage="disk")
        fused, default = fuse(subject.model, content, style, STORED), fuse(subject.model, content, style)
        plain = least(lambda: sample(subject.model, content))
        stored = least(lambda: sample(fused, content))
        matched = least(lambda: sample(default, content))
        ours = highest(lambda: _portrait(subject, steps, whole)) - start
        literal = highest(lambda: _literal_portrait(subject, steps)) - start
    one_step = (content.store.bytes + style.store.bytes) / steps

    def above(name: str, run: int, base: int) -> Figure:
        name = f"peak above a plain step's, disk: {name}, in steps of features"
        return Figure(subject.name, name, (run - base) / one_step, most=2)

    return [
        above("capture", capture, plain_two),
        above("fused (stored)", stored, plain),
        above("fused (matched)", matched, plain),
        Figure(subject.name, f"peak of a whole portrait, {steps} steps in RAM, ours / literal", ours / literal),
        Figure(subject.name, "features of a step, both pictures", one_step / 1e6, unit=" MB"),
        Figure(subject.name, "peak of two plain rows, above the model", (plain_two - start) / 1e6, unit=" MB"),
    ]


def _portrait(subject: Subject, steps: int, whole: dict) -> None:
    content, style = invert(subject, steps, **whole, storage="cpu")
    sample(fuse(subject.model, content, style, STORED), content)


def _literal_portrait(subject: Subject, steps: int) -> None:
    literal = Literal(subject, steps)
    literal.invert()
    literal.sample()
