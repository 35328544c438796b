"""``dev.py compatibility``: write docs/compatibility.md from what the tests measure on every supported host."""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from pathlib import Path

from .host import SOURCES
from .report import DevError, say
from .server import ROOT
from .testing import test

PAGE = ROOT / "docs" / "compatibility.md"
PARTS = ("companions", "windows", "inverting", "composition", "row_layouts", "models", "stock_samplers", "graphs")
TESTS = tuple(f"tests/nodes/test_{part}.py" for part in PARTS)
HEAD = """\
# What works beside what

Written by `python3 dev.py compatibility` from the tests in `tests/nodes`, which run every case below in the host's own
executor. An effect is the relative change of the latent on small random networks: it shows that a node acts, not how
much of it a picture shows. *before* and *after* say where the node stands relative to FFA Attention Patch; *beside*
that it is not on the model. Where a node is refused, nothing is sampled and the message holds what is quoted.
"""
NOTES = {
    "Nodes": """\
Where another node replaces the attention of a layer (PAG and SAG at the middle block, reference-only packs), FFA leaves
that layer to it, and the log says so once a run. Where FFA takes the place of what a node before it made attention
read, the log says that too.
""",
    "Models": "`thin` is the host's own class with few channels and random weights; `full size` the real layout.\n",
    "Samplers": "`euler` and `ddim` with the sigmas of Bank Schedule stay on the noise levels of the bank.\n",
}

Line = tuple[str, str, str, str, str]


def compatibility(options: Namespace) -> int:
    measured = {version: _measure(version) for version in ([options.host] if options.host else SOURCES)}
    PAGE.write_text(page(measured), encoding="utf-8")
    say(f"wrote {PAGE}")
    return 0


def _measure(version: str) -> list[Line]:
    """What the tests record on one host; they must pass."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "effects.jsonl"
        os.environ["MAGICSTYLE_EFFECTS"] = str(file)
        try:
            failed = test(Namespace(host=version, fast=False, ci=True), [*TESTS])
        finally:
            del os.environ["MAGICSTYLE_EFFECTS"]
        if failed:
            raise DevError(f"The tests fail on ComfyUI {version}; the page is written from tests that pass.")
        return [tuple(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def page(measured: dict[str, list[Line]]) -> str:
    """The page: a table for each section, a line for each case, with what every version gave."""
    newest = max(measured, key=_number)
    text = [HEAD]
    for section, note in NOTES.items():
        cases = dict.fromkeys(line[1:3] for lines in measured.values() for line in lines if line[0] == section)
        text += [f"## {section}\n", note]
        text += [f"| | where | {' | '.join(measured)} | measured on {newest} |"]
        text += ["|---|---|" + "---|" * (len(measured) + 1)]
        for name, place in cases:
            verdicts = [_of(lines, section, name, place, 3) or "not in this version" for lines in measured.values()]
            last = _of(measured[newest], section, name, place, 4)
            text.append(f"| {name} | {place} | {' | '.join(verdicts)} | {last} |")
        text.append("")
    return "\n".join(text)


def _of(lines: list[Line], section: str, name: str, place: str, field: int) -> str:
    return next((line[field] for line in lines if line[:3] == (section, name, place)), "")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
