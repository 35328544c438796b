"""The style library: bank files in the model folder ``magicstyle_banks``, by names that every system can hold."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import folder_paths

from ..magicstyle_core.bank import leftovers
from ..magicstyle_core.text import quoted, shown
from .host.memory import readable

log = logging.getLogger(__name__)

FOLDER = "magicstyle_banks"
SUFFIX = ".safetensors"
MARGIN = 4 << 20  # bytes of a file beside the numbers: header, thumbnail
LONGEST = 240  # characters of a name with its folders: Windows has 260 for all of a path
LONGEST_PART = 200  # bytes of a folder or prefix: systems have 255, and number and suffix come after it
RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³")}
FORBIDDEN = frozenset('\\:*?"<>|')
TOKENS = tuple(f"%{unit}%" for unit in ("year", "month", "day", "hour", "minute", "second"))
WHERE = "Names are those of files in the model folder magicstyle_banks and its subfolders, such as 'oil/monet_00001_.safetensors'."


def register() -> None:
    """Make the folder known to the host. Folders that the user mapped to it come first, and new banks go to the first."""
    default = os.path.join(folder_paths.models_dir, FOLDER)
    mapped, _ = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    folders = [*mapped, *([] if default in mapped else [default])]
    folder_paths.folder_names_and_paths[FOLDER] = (folders, {SUFFIX})


def tidy() -> None:
    """Remove what saves left that ended with their program; name in the log what may be another machine's."""
    for folder in folder_paths.get_folder_paths(FOLDER):
        for path in map(Path(folder).joinpath, _files(folder, leftovers.is_hidden)):
            try:
                size, fate = readable(path.stat().st_size), leftovers.remove(path)
            except OSError as error:
                fate, size = "kept", error.strerror
            if fate == "removed":
                log.info("Removed what is left of a save that was cut off: %s (%s).", shown(path), size)
            elif fate == "kept":
                log.warning(
                    "A save that was cut off, or that another machine is at: %s (%s). It is removed when ComfyUI starts a "
                    "day after its last change.", shown(path), size,
                )  # fmt: skip


def names() -> list[str]:
    """Names of all bank files, with ``/`` between folders on every system; what cannot be read is left out."""
    return sorted({name for folder in folder_paths.get_folder_paths(FOLDER) for name in _files(folder, _is_bank)})


def find(name: str) -> Path:
    """The file of this name; ``ValueError`` if there is none, or if the name or a link leads out of the library."""
    if not isinstance(name, str) or _problem(name):
        raise ValueError(f"The bank name {quoted(name)} is not allowed{_because(name)}. {WHERE}")
    path = _path(name) if name.lower().endswith(SUFFIX) else None
    if path is None:
        raise ValueError(
            f"There is no bank file {quoted(name)} in the library ({_folders()}). Save one with Save Feature Bank, or press "
            "R to refresh the list and choose another."
        )
    return path


def check_prefix(prefix: str) -> None:
    """``ValueError`` if new files cannot begin with this, on any system."""
    spelled = prefix if isinstance(prefix, str) else ""
    for token in TOKENS:
        spelled = spelled.replace(token, "00")
    token = re.search(r"%[A-Za-z][^%/]*%", spelled)
    long = next((part for part in spelled.split("/") if len(part.encode(errors="replace")) > LONGEST_PART), None)
    if token:
        why = f": of tokens only {' '.join(TOKENS)} are filled in"
    elif long is not None:
        why = f": each part may have {LONGEST_PART} bytes"
    elif not isinstance(prefix, str) or _problem(f"{spelled}_00001_{SUFFIX}") or _problem(spelled):
        why = _because(spelled if isinstance(prefix, str) else prefix)
    else:
        return
    raise ValueError(f"The file name prefix {quoted(prefix)} is not allowed{why}. {WHERE}")


def new_paths(prefix: str, needed: int) -> Iterator[Path]:
    """Paths for a new file, counted up from what the host counts for pictures, with room for ``needed`` bytes.

    ``prefix`` may begin with subfolders. ``ValueError`` if it leads out of the library, or if there is no room. The
    first path may be taken meanwhile, by another host with the same folder: hence more than one.
    """
    check_prefix(prefix)
    root = Path(os.path.abspath(folder_paths.get_folder_paths(FOLDER)[0]))
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not _inside((root / prefix).parent, root):
            raise ValueError(f"The file name prefix {quoted(prefix)} leads out of the library by a link. {WHERE}")
        folder, stem, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(
            f"The bank cannot be saved into the library ({shown(root)}): {error.strerror or error}. Choose another prefix, or "
            "map magicstyle_banks to another folder in extra_model_paths.yaml."
        ) from error
    if needed + MARGIN > free:
        raise ValueError(
            f"Saving this bank needs {readable(needed + MARGIN)}; free in {shown(folder)} are {readable(free)}. Make room, or "
            "map magicstyle_banks to a folder on another disk in extra_model_paths.yaml."
        )
    return (Path(folder) / f"{stem}_{number:05}_{SUFFIX}" for number in count(counter))


def name_of(path: Path) -> str:
    """The name of a file of :func:`new_paths`."""
    return path.relative_to(os.path.abspath(folder_paths.get_folder_paths(FOLDER)[0])).as_posix()


def _files(folder: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Names of files in and below a folder.

    Not the host's own search: that follows links in circles, and ends at a folder that it may not read. Folders that are
    links are left out, files that are links must stay inside.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, below)) as found:
                entries = [entry for entry in found if len(below) + len(entry.name) <= LONGEST]
        except OSError as error:
            log.debug("The library's folder %s cannot be read: %s", shown(below), error.strerror)
            continue
        for entry in entries:
            with suppress(OSError):  # a link in a circle
                if wanted(entry.name):
                    if entry.is_file() and (not entry.is_symlink() or _inside(entry.path, folder)):
                        yield f"{below}{entry.name}"
                elif entry.is_dir(follow_symlinks=False) and not _part_problem(entry.name):
                    waiting.append(f"{below}{entry.name}/")


def _is_bank(name: str) -> bool:
    return name[-len(SUFFIX) :].lower() == SUFFIX and not _part_problem(name)


def _problem(name: str) -> str:
    """Why a name is no plain path below a folder, on some system; empty if it is one."""
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and may have {LONGEST}"
    return next(filter(None, map(_part_problem, name.split("/"))), "")


def _part_problem(part: str) -> str:
    if not part or part.startswith(".") or part.endswith((".", " ")) or part != part.strip():
        return "no part may be empty, begin with a dot or a space, or end with one"
    if not part.isprintable() or not FORBIDDEN.isdisjoint(part):
        return 'no part may hold \\ : * ? " < > | or what cannot be printed'
    if part.partition(".")[0].rstrip().upper() in RESERVED:
        return f"Windows keeps {quoted(part)} for a device"
    if len(part.encode()) > 255:
        return "each part may have 255 bytes"
    return ""


def _because(name: object) -> str:
    return f": {_problem(name)}" if isinstance(name, str) else ": it is no text"


def _path(name: str) -> Path | None:
    """The file of this name inside one of the folders, with links followed."""
    for folder in folder_paths.get_folder_paths(FOLDER):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and _inside(path, folder):
            return Path(os.path.realpath(path))
    return None


def _inside(path: str | Path, folder: str | Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _folders() -> str:
    return shown(", ".join(folder_paths.get_folder_paths(FOLDER)))
