"""The cache folder: finished things by key, built once, safe to delete at any time.

An entry is a folder whose ``done`` file is written last. Whoever finds no ``done`` builds under the entry's
lock, after removing what an interrupted build left. The lock is the operating system's; it dies with its
holder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .report import DevError, say, step

UNUSED_DAYS = 30
NEEDED_BYTES = 4 * 10**9


def cache_folder() -> Path:
    own = os.environ.get("MAGICSTYLE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "magicstyle"


def key_of(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def entry(name: str, parts: object, build: Callable[[Path], None]) -> Path:
    """The folder ``name-<key of parts>`` in the cache; ``build(folder)`` fills it on first use."""
    root = cache_folder()
    folder = root / f"{name}-{key_of(parts)}"
    done = folder / "done"
    if not done.exists():
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f"{folder.name}.lock"):
            if not done.exists():
                _build(folder, build)
    os.utime(done)  # prune() goes by last use
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    if folder.exists():
        with step(f"remove what an interrupted build left in {folder.name}"):
            shutil.rmtree(folder)
    prune(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < NEEDED_BYTES:
        raise DevError(
            f"{folder.parent} has {free / 1e9:.1f} GB free; {NEEDED_BYTES / 1e9:.0f} GB are needed.",
            "Free some space, or set MAGICSTYLE_CACHE to a folder on a larger disk; run again.",
        )
    folder.mkdir()
    try:
        build(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / "done").write_text(time.strftime("%Y-%m-%d %H:%M:%S\n"))


def prune(root: Path) -> None:
    """Remove finished entries that nobody used for a month: each change of a key leaves one behind."""
    for done in root.glob("*/done"):
        if time.time() - done.stat().st_mtime > UNUSED_DAYS * 86400:
            done.unlink()
            shutil.rmtree(done.parent, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; says so when another process has it."""
    with open(path, "a+") as file:
        if not _try_lock(file.fileno()):
            say(f"another process is building {path.stem}; waiting for it")
            while not _try_lock(file.fileno()):
                time.sleep(0.2)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
