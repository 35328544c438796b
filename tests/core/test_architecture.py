"""What sources may import and call: core knows no host, imports point one way, nothing is unsafe."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "magicstyle_core").rglob("*.py"))
DEMO = [ROOT / "demo" / name for name in ("codec.py", "text/encoder.py", "text/vocabulary.py")]
PUBLISHED = [ROOT / "__init__.py", *CORE, *DEMO, *sorted((ROOT / "nodes").rglob("*.py"))]
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

# What a part of core may import: parts of a lower rank, and itself. So sampling and fusion never import each other.
RANKS = {"text": 0, "layers": 1, "schedule": 1, "bank": 2, "sampling": 3, "fusion": 3, "methods": 4}


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
    parts = {path.relative_to(ROOT / "magicstyle_core").parts[0].removesuffix(".py") for path in CORE}
    assert parts == {*RANKS, "__init__"}
    assert len(PUBLISHED) > len(CORE) + 1


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git, which reads .comfyignore as the registry does")
def test_what_is_published_imports_nothing_that_is_not():
    def files(*options):
        command = ["git", "ls-files", *options]
        return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())

    published = files() - files("--ignored", "--cached", "--exclude-from=.comfyignore")
    sources = {file for file in published if file.endswith(".py")}
    assert sources == {names(path) for path in PUBLISHED} | {"demo/__init__.py", "demo/text/__init__.py"}
    assert {"demo/magicstyle_demo.safetensors", "demo/text/words.txt"} <= published
    for file in sources:
        for level, module, line in imports(ROOT / file):
            if level:
                target = (ROOT / file).parents[level - 1].joinpath(*module.split("."))
                candidates = {names(target.with_suffix(".py")), names(target / "__init__.py")}
                assert candidates & sources, where(ROOT / file, line)


@pytest.mark.parametrize("path", CORE, ids=names)
def test_core_never_imports_the_host(path):
    found = [where(path, line) for level, name, line in imports(path) if level == 0 and root(name) in HOST]
    assert not found


@pytest.mark.parametrize("path", CORE, ids=names)
def test_core_needs_torch_and_the_standard_library_only(path):
    assert {root(name) for level, name, _ in imports(path) if level == 0} <= sys.stdlib_module_names | {"torch"}


def inside(path):
    """Modules of core that one of them imports, as ``bank.features``; a package stands for its ``__init__``."""
    place = path.relative_to(ROOT / "magicstyle_core").with_suffix("").parts
    for level, name, line in imports(path):
        assert root(name) != "magicstyle_core", f"{where(path, line)}: not relative"
        if level:
            assert level <= len(place), f"{where(path, line)}: leaves core"
            yield ".".join((*place[: len(place) - level], name))


@pytest.mark.parametrize("path", CORE, ids=names)
def test_imports_within_core_are_relative_and_point_one_way(path):
    part = path.relative_to(ROOT / "magicstyle_core").parts[0].removesuffix(".py")
    if part == "__init__":
        assert not list(inside(path))
        return
    for name in inside(path):
        assert root(name) == part or RANKS[root(name)] < RANKS[part], name


def test_modules_of_core_do_not_import_each_other_in_a_circle():
    known = {".".join(p.relative_to(ROOT / "magicstyle_core").with_suffix("").parts): set(inside(p)) for p in CORE}
    assert set().union(*known.values()) <= set(known)
    while free := {name for name, needed in known.items() if not needed & set(known)}:
        known = {name: needed for name, needed in known.items() if name not in free}
    assert not known


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
