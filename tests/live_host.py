"""One running ComfyUI for all tests that need a server, and the prompts that they send."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest

from dev.client import Prompt
from dev.demo import pictures
from dev.server import Host

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SETTINGS = {"Comfy.Minimap.Visible": False, "Comfy.VueNodes.Enabled": False}
NODES = {
    "MagicStyle_CSDI": "Content + Style Inversion (CSDI)",
    "MagicStyle_Invert": "DDIM Inversion",
    "MagicStyle_FFA": "FFA Attention Patch",
    "MagicStyle_Sweep": "Alpha / Beta Sweep",
    "MagicStyle_FusedSampler": "Fused Sampler (FFF)",
    "MagicStyle_Sampler": "DDIM Sampler",
    "MagicStyle_Sigmas": "Bank Schedule",
    "MagicStyle_KeepColors": "Keep Colors",
    "MagicStyle_BankInfo": "Inspect Feature Bank",
    "MagicStyle_SaveBank": "Save Feature Bank",
    "MagicStyle_LoadBank": "Load Feature Bank",
    "MagicStyle_DemoModel": "Load Demo Model",
}
_shared: list[Host] = []


def launch(*flags: str) -> Host:
    """A server that is not started yet: a context manager. Skips the test where there is no ComfyUI."""
    if "COMFYUI_PATH" not in os.environ:
        pytest.skip("needs a ComfyUI: run `python3 dev.py test`, or set COMFYUI_PATH and COMFYUI_PYTHON")
    host = Host(
        os.environ["COMFYUI_PATH"],
        os.environ["COMFYUI_PYTHON"],
        inputs=pictures(),
        flags=flags,
        settings=SETTINGS,
        timeout=300,
    )
    # Nobody loads this checkpoint. It is there to be chosen, as on a user's machine.
    (host.base / "models/checkpoints/v1-5-pruned-emaonly-fp16.safetensors").touch()
    return host


def shared(config: pytest.Config) -> Host:
    """The server for most tests, started on first use and stopped when pytest ends. A style is in its library."""
    if not _shared:
        host = launch()
        config.add_cleanup(host.__exit__)
        _shared.append(host.start())
        host.client.run(small(twin("style_library")), timeout=300)
    return _shared[0]


def twin(name: str) -> Prompt:
    """The prompt that a workflow of this name must come to."""
    return json.loads((ROOT / "tests" / "prompts" / f"{name}.json").read_text(encoding="utf-8"))


def small(prompt: Prompt, size: int = 64, steps: int = 4) -> Prompt:
    """A prompt for pictures of ``size`` pixels in few steps. Another size is not in the server's cache."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == "ImageScale":
            node["inputs"].update(width=size, height=size)
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = steps
    return prompt


def only(prompt: Prompt, kind: str) -> str:
    """The id of the only node of this kind."""
    (found,) = (node for node, content in prompt.items() if content["class_type"] == kind)
    return found
