"""The base folder of one server: pictures, checkpoints, settings, and the packs under the names we want."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDERS = ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user/default")
SETTINGS = {  # of the front end: an empty page, without the first run's dialogs
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,
    "Comfy.Notification.ShowVersionUpdates": False,
}
Inputs = Iterable[Path] | Mapping[str, Path]


def prepare(
    base: Path,
    packs: Mapping[str, Path],
    inputs: Inputs,
    checkpoints: Iterable[Path],
    settings: Mapping[str, object],
) -> list[str]:
    """Fill the folder; the flags that make ComfyUI live in it and load these packs alone."""
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    pairs = inputs.items() if isinstance(inputs, Mapping) else ((file.name, file) for file in inputs)
    for name, file in pairs:
        shutil.copyfile(file, base / "input" / name)
    for file in checkpoints:
        link_or_copy(file.absolute(), base / "models/checkpoints" / file.name)
    chosen = base / "user/default/comfy.settings.json"
    if not chosen.exists():
        chosen.write_text(json.dumps({**SETTINGS, **settings}))
    # The default database lies in ComfyUI's own tree and is locked by each server. One in memory
    # is no way out: ComfyUI 0.16 makes its tables on one connection and looks for them on another.
    database = "sqlite:///" + (base / "comfyui.db").as_posix()
    return ["--base-directory", str(base), "--database-url", database, *_load(base, packs)]


def _load(base: Path, packs: Mapping[str, Path]) -> list[str]:
    """Flags that load these packs, each under its name here, whatever its folder is called.

    The paths file names the PARENT of packs, and every pack in it would be loaded: hence a parent
    of our own, which holds nothing but links under the names we want, and the whitelist.
    """
    parent = base / "packs"
    parent.mkdir(exist_ok=True)
    for name, folder in packs.items():
        link_or_copy(folder.absolute(), parent / name)
    paths = base / "extra_paths.yaml"
    paths.write_text(f"packs:\n  custom_nodes: {json.dumps(str(parent))}\n")
    only = ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *packs]
    return ["--extra-model-paths-config", str(paths), *only]


def link_or_copy(source: Path, target: Path) -> None:
    """A symbolic link; a copy where the system does not let an ordinary user make links."""
    if target.is_symlink():
        target.unlink()
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        if source.is_dir():
            unwanted = shutil.ignore_patterns(".git", "__pycache__", "out")
            shutil.copytree(source, target, ignore=unwanted, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
