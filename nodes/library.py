"""The style library: bank files in the model folder ``magicstyle_banks``, by names that never lead out of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import folder_paths

from .host.memory import readable

FOLDER = "magicstyle_banks"
SUFFIX = ".safetensors"
MARGIN = 4 << 20  # bytes of a file beside the numbers: header, thumbnail
WHERE = "Names are those of files in the model folder magicstyle_banks and its subfolders, such as 'oil/monet_00001_.safetensors'."


def register() -> None:
    """Make the folder known to the host. Folders that the user mapped to it come first, and new banks go to the first."""
    default = os.path.join(folder_paths.models_dir, FOLDER)
    mapped, _ = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    folders = [*mapped, *([] if default in mapped else [default])]
    folder_paths.folder_names_and_paths[FOLDER] = (folders, {SUFFIX})


def names() -> list[str]:
    """Names of all bank files, with ``/`` between folders on every system."""
    found = (name.replace(os.sep, "/") for name in folder_paths.get_filename_list(FOLDER))
    return [name for name in found if _path(name) is not None]


def find(name: str) -> Path:
    """The file of this name; ``ValueError`` if there is none, or if the name or a link leads out of the library."""
    _check(name, "The bank name")
    path = _path(name) if name.endswith(SUFFIX) else None
    if path is None:
        raise ValueError(
            f"There is no bank file '{name[:200]}' in the library ({_folders()}). Save one with Save Feature Bank, or press "
            "R to refresh the list and choose another."
        )
    return path


def new_path(prefix: str, needed: int) -> tuple[Path, str]:
    """Path and name for a new file, counted as the host counts pictures, with room for ``needed`` bytes.

    ``prefix`` may begin with subfolders. ``ValueError`` if it leads out of the library, or if there is no room.
    """
    _check(prefix, "The file name prefix")
    root = Path(os.path.abspath(folder_paths.get_folder_paths(FOLDER)[0]))
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not _inside((root / prefix).parent, root):
            raise ValueError(f"The file name prefix '{prefix[:200]}' leads out of the library by a link. {WHERE}")
        folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(
            f"The bank cannot be saved into the library ({root}): {error.strerror}. Choose another prefix, or map "
            "magicstyle_banks to another folder in extra_model_paths.yaml."
        ) from error
    if needed + MARGIN > free:
        raise ValueError(
            f"Saving this bank needs {readable(needed + MARGIN)}; free in {folder} are {readable(free)}. Make room, or map "
            "magicstyle_banks to a folder on another disk in extra_model_paths.yaml."
        )
    name = f"{stem}_{counter:05}_{SUFFIX}"
    return Path(folder) / name, "/".join(filter(None, (subfolder.replace(os.sep, "/"), name)))


def _check(name: str, what: str) -> None:
    """``ValueError`` for names that are no plain path below a folder, on any system."""
    parts = name.split("/") if isinstance(name, str) else []
    plain = all(part not in ("", ".", "..") and part.strip() == part for part in parts)
    if not parts or not plain or not name.isprintable() or set(name) & set('\\:*?"<>|'):
        raise ValueError(f"{what} {str(name)[:200]!r} is not allowed. {WHERE}")


def _path(name: str) -> Path | None:
    """The file of this name inside one of the folders, with links followed."""
    for folder in folder_paths.get_folder_paths(FOLDER):
        path = Path(folder) / name
        if path.is_file() and _inside(path, Path(folder)):
            return path.resolve()
    return None


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _folders() -> str:
    return ", ".join(folder_paths.get_folder_paths(FOLDER))
