"""``dev.py lint``: ruff, pyright on the core, and that the core stays free of the host."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from .host import find_host
from .report import clean_environment, say, step
from .server import ROOT
from .tools import linters

CORE = "magicstyle_core"
HOST_MODULES = frozenset(
    ("comfy", "comfy_api", "comfy_extras", "comfy_execution", "execution", "folder_paths", "nodes", "server")
)


def lint(version: str | None = None) -> int:
    """0 if everything is clean. All checks run, also after one that complains."""
    python = find_host(version).python
    environment = clean_environment(
        {"PYTHONPATH": str(linters(python)), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    )
    checks = {
        "ruff": [python, "-m", "ruff", "check", "--quiet", "."],
        "pyright": [python, "-m", "pyright", "--pythonpath", python, CORE],
    }
    complaints = {}
    for name, command in checks.items():
        with step(name):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            complaints[name] = (done.stdout + done.stderr).strip()
    with step("imports of the core"):
        if found := [line for file in sorted((ROOT / CORE).rglob("*.py")) for line in host_imports(file)]:
            complaints["imports of the core"] = "\n".join(found)
    for name, text in complaints.items():
        say(f"\n{name}:\n{text}")
    say(f"lint: {'clean' if not complaints else 'complaints by ' + ', '.join(complaints)}")
    return 1 if complaints else 0


def host_imports(file: Path) -> list[str]:
    """``file:line`` of every import of a module that only ComfyUI has."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        found += [
            f"{file.relative_to(ROOT)}:{node.lineno}: imports {name}"
            for name in names
            if name.split(".")[0] in HOST_MODULES
        ]
    return found
