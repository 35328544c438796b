"""``dev.py test``: pytest in the host's Python, layer by layer, and one closing line that counts."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from .cache import cache_folder
from .host import Host, find_host
from .report import PREEXEC, say
from .server import ROOT
from .tools import browser, measure_tools, test_environment

FAST = (("core", "demo", "nodes"),)  # the same processes: all import torch, one imports ComfyUI
SLOW = (("server", "browser"),)  # one process: both talk to the same server, and wait for it
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
    with tempfile.TemporaryDirectory(prefix="magicstyle-") as name:
        lanes = [Lane(found, environment, Path(name), groups) for groups in side_by_side(options.fast, arguments)]
        with ThreadPoolExecutor() as threads:
            broken = any(list(threads.map(Lane.run, lanes)))
        for lane in lanes:
            counts.update(lane.counts)
    return _close(counts, time.monotonic() - begin, broken, strict)


def side_by_side(fast: bool, arguments: list[str]) -> list[list[list[str]]]:
    """Lists of :func:`grouped` that run at the same time, on two cores or more.

    Fast tests are shared, see tests/conftest.py; who runs the slow ones comes to their help.
    """
    groups = grouped(fast, arguments)
    if (os.cpu_count() or 1) < 2 or any(a.startswith("tests/") for a in arguments):
        return [groups]
    shared, *alone = groups
    return [[*alone, shared], [shared]]


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


class Lane:
    """Processes of pytest one after the other, each with its own groups of tests. What the first lane of a ``folder``
    says is seen at once, what others say at their end."""

    def __init__(self, host: Host, environment: dict[str, str], folder: Path, groups: list[list[str]]) -> None:
        self.number = len(list(folder.glob("lane*")))
        self.counts: Counter[str] = Counter()
        self._host, self._environment, self._groups = host, environment, groups
        self._folder, self._shared = folder / f"lane{self.number}", folder / "shared"
        for made in (self._folder, self._shared):
            made.mkdir(exist_ok=True)

    def run(self) -> bool:
        """Run them all; True if one broke in another way than by failing tests."""
        return any([self._pytest(group, self._folder / f"{number}.xml") for number, group in enumerate(self._groups)])

    def _pytest(self, group: list[str], report: Path) -> bool:
        command = _command(self._host, report, f"pytest{self.number or ''}", group)
        environment = {**self._environment, "MAGICSTYLE_SHARE": str(self._shared)}
        with tempfile.TemporaryFile("w+") as text:
            seen = None if self.number == 0 else text
            options = {"cwd": ROOT, "env": environment, "stdout": seen, "stderr": seen, "preexec_fn": PREEXEC}
            code = subprocess.Popen(command, **options).wait()
            text.seek(0)
            say(text.read().rstrip())
        counted = count(report)
        self.counts.update(counted)
        return code not in (0, NOTHING_COLLECTED) and not (code == 1 and counted["failed"])


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
    try:
        cases = ElementTree.parse(report).iter("testcase")
    except (OSError, ElementTree.ParseError):  # pytest ended before it was written
        return counts
    for case in cases:
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
