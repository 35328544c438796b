"""``dev.py test``: pytest in the host's Python, layer by layer, and one closing line that counts."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from .cache import cache_folder
from .host import Host, find_host
from .report import PREEXEC, say
from .server import ROOT
from .tools import browser, measure_tools, test_environment

FAST = (("core", "demo", "nodes"),)  # the same processes: all import torch, one imports ComfyUI
PROCESSES = min(2, os.cpu_count() or 1)  # that share the fast tests
SLOW = (("server", "browser"),)  # one process: both talk to the same server
NOTHING_COLLECTED = 5
SECONDS_PER_TEST = 300
NO_BROWSER = (
    "Browser tests will be skipped: no Chromium was found and it could not be installed. "
    "Install one (Debian: apt install chromium) or set MAGICSTYLE_BROWSER to its program."
)


def test(options: argparse.Namespace, arguments: list[str]) -> int:
    found = find_host(options.host)
    environment = test_environment(found, measure_tools(found.python))
    strict = options.ci or os.environ.get("CI", "").lower() not in ("", "0", "false")
    if not options.fast:
        if program := browser():
            environment["MAGICSTYLE_BROWSER"] = program
        else:
            say(NO_BROWSER)
    say(f"test with ComfyUI {found.version}, {found.python}")
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    broken = False
    named = any(a.startswith("tests/") for a in arguments)
    for group in grouped(options.fast, arguments):
        shared = PROCESSES if not named and group[0] == f"tests/{FAST[0][0]}" else 1
        broken |= _pytest(found, environment, group, counts, shared)
    return _close(counts, time.monotonic() - begin, broken, strict)


def grouped(fast: bool, arguments: list[str]) -> list[list[str]]:
    """pytest's arguments, one list per process: all layers, or the tests that the caller names.

    Named tests are split alike: the browser's event loop does not let ComfyUI's executor run beside it.
    """
    named = [a for a in arguments if a.startswith("tests/")]
    rest = [a for a in arguments if a not in named]
    groups = []
    for layers in FAST if fast and not named else FAST + SLOW:
        paths = [f"tests/{layer}" for layer in layers if (ROOT / "tests" / layer).is_dir()]
        if named and "tests/" not in named:
            paths = [a for a in named if any(a.startswith(path) for path in paths)]
        if paths:
            quick = ["-m", "not slow"] if fast and not named else []
            groups.append([*paths, *quick, *rest])
    return groups


def _pytest(
    host: Host, environment: dict[str, str], arguments: Iterable[str], counts: Counter[str], processes: int
) -> bool:
    """Run pytest once and add to the counts; True if it broke in another way than by failing tests.

    Several ``processes`` share the tests file by file (see tests/conftest.py); all but the first write when they end.
    """
    broken = False
    with tempfile.TemporaryDirectory(prefix="magicstyle-") as name:
        folder, running = Path(name), []
        shared = folder / "share"
        shared.mkdir()
        for number in range(processes):
            share = {"MAGICSTYLE_SHARE": str(shared)} if processes > 1 else {}
            text = (folder / f"{number}.txt").open("w+") if number else None
            command = _command(host, folder / f"{number}.xml", f"pytest{number or ''}", arguments)
            options = {"cwd": ROOT, "env": {**environment, **share}, "preexec_fn": PREEXEC}
            running.append((subprocess.Popen(command, stdout=text, stderr=text, **options), text))
        for number, (process, text) in enumerate(running):
            code, report = process.wait(), folder / f"{number}.xml"
            if text is not None:
                text.seek(0)
                say(text.read().rstrip())
                text.close()
            counted = count(report) if report.exists() else Counter()
            counts.update(counted)
            broken |= code not in (0, NOTHING_COLLECTED) and not (code == 1 and counted["failed"])
    return broken


def _command(host: Host, report: Path, cache: str, arguments: Iterable[str]) -> list[str]:
    return [
        host.python,
        "-m",
        "pytest",
        "-q",
        "-rfEs",
        "--rootdir",
        str(ROOT),
        f"--junitxml={report}",
        "-o",
        f"cache_dir={cache_folder() / cache}",
        "-o",
        f"timeout={SECONDS_PER_TEST}",
        *arguments,
    ]


def count(report: Path) -> Counter[str]:
    """Tests by result, and milliseconds by layer (as ``ms <layer>``), from pytest's report."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[result] += 1
        parts = case.get("classname", "").split(".")
        layer = parts[parts.index("tests") + 1] if "tests" in parts[:-1] else "other"
        counts[f"ms {layer}"] += round(1000 * float(case.get("time") or 0))
    return counts


def _close(counts: Counter[str], seconds: float, broken: bool, strict: bool) -> int:
    layers = ", ".join(f"{k[3:]} {v / 1000:.1f} s" for k, v in counts.items() if k.startswith("ms "))
    total = sum(counts[k] for k in ("passed", "failed", "skipped"))
    say(
        f"\npassed {counts['passed']}, failed {counts['failed']}, skipped {counts['skipped']} "
        f"in {seconds:.1f} s ({layers or 'no tests'})"
    )
    if broken:
        say("pytest itself stopped with an error, see above.")
    if strict and counts["skipped"]:
        say("A skipped test counts as a failure here (CI).")
    return 1 if broken or not total or counts["failed"] or (strict and counts["skipped"]) else 0
