"""Files that are being written, and what is left of them when a program dies meanwhile.

A file is written under a hidden name that tells the machine, and is locked until it is whole. The lock dies with the
program; whether one of another machine is seen depends on the file system, hence an age for those.
"""

from __future__ import annotations

import os
import platform
import re
import time
import uuid
import zlib
from pathlib import Path
from typing import IO, Literal

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None

Fate = Literal["removed", "kept", "in use"]

ENDING = ".tmp"
OLD = 24 * 3600  # seconds since the last write after which no other machine is still at it
CLOSED = 60  # seconds in which a file that :func:`finish` closed has another name
_NAME = re.compile(r"\..*?\.(?:(?P<machine>[0-9a-f]{8})\.)?[0-9a-f]{32}\.tmp", re.DOTALL)


def create(path: Path) -> tuple[IO[bytes], Path]:
    """A new locked file beside ``path``, and its hidden name."""
    while True:
        hidden = path.with_name(f".{path.stem[:40]}.{_machine()}.{uuid.uuid4().hex}{ENDING}")
        file = hidden.open("xb", buffering=0)
        if _lock(file) != "taken":
            return file, hidden
        file.close()  # somebody who tidies up was faster, and removes it


def finish(file: IO[bytes]) -> None:
    """Before the file gets another name: it stays locked where an open file can have one."""
    if fcntl is None:
        file.close()


def is_hidden(name: str) -> bool:
    """Whether a file has a name of those that :func:`create` makes."""
    return _NAME.fullmatch(name) is not None


def remove(hidden: Path) -> Fate:
    """Remove a file of :func:`create` whose writer died; ``OSError`` if that is not allowed.

    *kept* is one that may belong to another machine.
    """
    found = _NAME.fullmatch(hidden.name)
    try:
        with hidden.open("r+b", buffering=0) as file:
            lock = _lock(file)
            ours = found is not None and found["machine"] == _machine() and lock != "unknown"
            if lock == "taken":
                return "in use"
            least = OLD if not ours else CLOSED if fcntl is None else None
            if least is not None and time.time() - os.fstat(file.fileno()).st_mtime < least:
                return "kept"
            if fcntl is not None:
                hidden.unlink()  # while it is locked: a writer that comes now makes another
                return "removed"
        hidden.unlink()
    except FileNotFoundError:
        pass
    except PermissionError:
        if fcntl is None:
            return "in use"
        raise
    return "removed"


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _lock(file: IO[bytes]) -> Literal["ours", "taken", "unknown"]:
    """Try to lock a file; *unknown* where the file system cannot."""
    if fcntl is None:
        return "ours"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:
        return "unknown"
    return "taken" if os.fstat(file.fileno()).st_nlink == 0 else "ours"
