"""``dev.py bench``: run a script of ``benchmarks/`` with the host's Python."""

from __future__ import annotations

import argparse
import subprocess

from .host import find_host
from .report import PREEXEC, DevError, say
from .server import ROOT
from .tools import face_tools, quality_tools, test_environment


def bench(options: argparse.Namespace, arguments: list[str]) -> int:
    folder = ROOT / "benchmarks"
    names = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))
    if not options.name:
        say(f"Benchmarks: {', '.join(names)}" if names else "There are no benchmarks yet.")
        return 0
    if options.name not in names:
        raise DevError(
            f"There is no benchmarks/{options.name}.py.",
            f"Choose one of: {', '.join(names) or '(none yet)'}.",
        )
    found = find_host(options.host)
    options.out.mkdir(parents=True, exist_ok=True)
    command = [found.python, str(folder / f"{options.name}.py"), "--out", str(options.out), *arguments]
    extra = quality_tools(found.python) if options.name in ("colors", "cost", "quality") else []
    if options.name == "quality":
        extra.append(face_tools(found.python))
    return subprocess.call(command, cwd=ROOT, env=test_environment(found, *extra), preexec_fn=PREEXEC)
