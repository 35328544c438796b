"""One line per step, and failures that say what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TAIL_LINES = 12


class DevError(Exception):
    """What failed, and what to do about it; ``dev.py`` prints it without a traceback."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print ``name`` and, when the block is done, how long it took."""
    sys.stdout.write(f"{name} ... ")
    sys.stdout.flush()
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"failed after {time.monotonic() - start:.1f} s")
        raise
    say(f"{time.monotonic() - start:.1f} s")


# For what runs ComfyUI and torch: no talk with the network, and threads that sleep while they wait for each
# other. By default they spin, which on busy cores made a sampling step four times slower.
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for child processes.

    Without the byte code that the first variable forbids, every start of ComfyUI takes three times as long.
    """
    drop = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME")
    return {**{k: v for k, v in os.environ.items() if k not in drop}, **(extra or {})}


def die_with_parent() -> None:
    """Ask Linux to end this child with its parent, even if that is killed. For ``preexec_fn``.

    The tie is to the thread that starts the child, so start long-lived children from the main thread.
    """
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


PREEXEC = die_with_parent if sys.platform == "linux" else None


def run(
    command: Sequence[str | Path],
    what: str,
    remedy: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command to its end and return its output; a ``DevError`` with the last lines otherwise."""
    try:
        done = subprocess.run(
            [str(c) for c in command],
            env=dict(env or clean_environment()),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=PREEXEC,
        )
    except FileNotFoundError as error:
        raise DevError(f"{what}: {command[0]} was not found.", remedy) from error
    if done.returncode:
        tail = "\n".join("    " + line for line in done.stdout.strip().splitlines()[-TAIL_LINES:])
        raise DevError(f"{what} (exit code {done.returncode}):\n{tail}", advice(done.stdout) or remedy)
    return done.stdout


def advice(output: str) -> str:
    """A remedy for the causes that a message names, empty where it names none of them."""
    text = output.lower()
    if "no space left" in text or "disk quota" in text:
        return "The disk is full. Free 4 GB, or set MAGICSTYLE_CACHE to a folder on a larger disk; run again."
    if any(
        s in text
        for s in (
            "dns error",
            "name resolution",
            "connection refused",
            "network is unreachable",
            "timed out",
            "error sending request",
            "connection error",
            "failed to fetch",
            "max retries",
            "newconnectionerror",
            "could not find a version",
        )
    ):
        return (
            "The package index could not be reached or lacks it. Check the network and pip's settings "
            "(`pip config list`: index-url, proxy, cert), then run again."
        )
    if "no solution found" in text or "no matching distribution" in text:
        return (
            "No such package for this Python. Use one from 3.10 to 3.13, for example `python3.12 dev.py ...`."
        )
    return ""


def error_from(error: OSError) -> DevError:
    """An operating system error as a ``DevError``."""
    remedy = (
        advice("no space left")
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "Look at the path above; run again."
    )
    return DevError(str(error), remedy)
