"""What sources may import and call: core knows no host, imports point one way, nothing is unsafe."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "magicstyle_core").rglob("*.py"))
PUBLISHED = [ROOT / "__init__.py", *CORE, *sorted((ROOT / "nodes").rglob("*.py"))]
HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "nodes",
    "server",
}
UNSAFE_MODULES = {"ctypes", "marshal", "pickle", "shelve", "subprocess"}
UNSAFE_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec", "print"}
UNSAFE_ATTRIBUTES = {("os", "environ"), ("os", "popen"), ("os", "system"), ("torch", "load")}

# Which modules of core a module may import. The first row that lists a name lies below the rows after it.
LEVELS = (
    {"chroma", "color", "dial", "layers", "schedule", "features", "softmax", "tensor_file"},
    {"storage", "matching", "texture"},
    {"bank"},
    {"ddim", "fusion", "regions", "recording", "untrusted"},
    {"branches", "manifest", "rules"},
    {"attention", "methods", "serialization"},
    {"prefetch"},
)
ALONE = {"codec"}


def imports(path):
    """``(level, module, line)`` of every import; level 0 is absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name, node.lineno) for name in names)


def root(module):
    return module.split(".")[0]


def where(path, line):
    return f"{path.relative_to(ROOT)}:{line}"


def unsafe(tree):
    """Everything that a registry scanner would ask about, as ``(line, what)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            for name in {root(part) for part in named} & UNSAFE_MODULES:
                yield node.lineno, f"import of {name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in UNSAFE_CALLS:
                yield node.lineno, f"call of {node.func.id}"
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if (owner, node.attr) in UNSAFE_ATTRIBUTES:
                yield node.lineno, f"{owner}.{node.attr}"
            if node.attr == "eval":
                yield node.lineno, "attribute eval"


def names(path):
    return str(path.relative_to(ROOT))


def test_there_are_sources_to_check():
    assert {"layers.py", "attention.py"} <= {path.name for path in CORE}
    assert len(PUBLISHED) > len(CORE) + 1


@pytest.mark.parametrize("path", CORE, ids=names)
def test_core_never_imports_the_host(path):
    found = [where(path, line) for level, name, line in imports(path) if level == 0 and root(name) in HOST]
    assert not found


@pytest.mark.parametrize("path", CORE, ids=names)
def test_core_needs_torch_and_the_standard_library_only(path):
    allowed = (
        sys.stdlib_module_names | {"torch"} | ({"safetensors"} if path.stem == "tensor_file" else set())
    )
    assert {root(name) for level, name, _ in imports(path) if level == 0} <= allowed


@pytest.mark.parametrize("path", CORE, ids=names)
def test_imports_within_core_are_relative_and_point_one_way(path):
    inside = {(level, name) for level, name, _ in imports(path) if level or root(name) == "magicstyle_core"}
    assert all(level == 1 for level, _ in inside)
    below = set()
    for rank in LEVELS:
        if path.stem in rank:
            break
        below |= rank
    else:
        assert path.stem in ALONE | {"__init__"}, f"{path.stem} has no place in LEVELS yet"
        below = set()
    assert {name for _, name in inside} <= below


def test_imports_of_the_pack_within_nodes_are_relative():
    for path in PUBLISHED:
        absolute = {root(name) for level, name, _ in imports(path) if level == 0}
        assert "magicstyle_core" not in absolute, names(path)


@pytest.mark.parametrize("path", PUBLISHED, ids=names)
def test_published_sources_do_nothing_unsafe(path):
    found = [f"{where(path, line)}: {what}" for line, what in unsafe(ast.parse(path.read_text()))]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from subprocess import run",
        "import os\nos.environ['A'] = '1'",
        "eval('1')",
        "exec('1')",
        "print(1)",
        "model.eval()",
        "torch.load('x')",
    ],
)
def test_the_check_for_unsafe_sources_sees_them(source):
    assert list(unsafe(ast.parse(source)))
