"""The host and the pack in this process, for benchmarks that time nodes without a server."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def load_pack(gpu: bool = False) -> ModuleType:
    """Import the pack as the host does, under the name ``magicstyle``; afterwards its modules import by name."""
    path = os.environ.get("COMFYUI_PATH")
    if path is None:
        raise SystemExit("Benchmarks run in a ComfyUI: use 'python3 dev.py bench', or set COMFYUI_PATH.")
    sys.path.insert(0, path)
    device = [] if gpu else ["--cpu"]
    sys.argv[1:] = [*device, "--disable-api-nodes", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()  # before any other import of the host
    import utils.install_util  # noqa: F401  before nodes, which puts comfy/utils.py in the way

    spec = importlib.util.spec_from_file_location(
        "magicstyle", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules["magicstyle"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def defaults(node: Any, **changes: object) -> dict[str, object]:
    """A node's widgets as it shows them, with some changed."""
    return _shown(node.define_schema().inputs) | changes


def _shown(fields: Sequence[Any]) -> dict[str, object]:
    """Values of widgets; one that brings inputs of its own has those of its first option with it, as in a run."""
    values: dict[str, object] = {}
    for field in fields:
        first = next(iter(getattr(field, "options", None) or ()), None)
        if hasattr(first, "inputs"):
            values[field.id] = {field.id: first.key, **_shown(first.inputs)}
        elif getattr(field, "default", None) is not None:
            values[field.id] = field.default
    return values
