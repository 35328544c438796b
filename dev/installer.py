"""pip and uv in a folder of their own, and pip's settings handed over to uv.

pip fetches the source (uv cannot), uv installs (ten times faster). uv does not read pip's configuration,
so whoever has set an index, a folder of wheels or a certificate for pip gets the same here.
"""

from __future__ import annotations

import ast
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cache import cache_folder, entry
from .report import DevError, advice, clean_environment, run, step

UV = "uv==0.13.8"
NETWORK = "Check the network and pip's settings (`pip config list`), then run again."


def python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def python_name() -> str:
    """What an environment depends on: the exact Python."""
    return f"{sys.implementation.name} {platform.python_version()} {sys.platform} {platform.machine()}"


class Installer:
    """The tool environment; made on first use."""

    def __init__(self) -> None:
        self.python = python_in(entry("installer", [UV, python_name(), sys.base_prefix], _build) / "venv")
        self.uv = self.python.with_name("uv.exe" if os.name == "nt" else "uv")
        self.environment = clean_environment(
            {
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_NO_CONFIG": "1",  # a project's uv.toml above the current folder has no say here
                "UV_HTTP_TIMEOUT": os.environ.get("UV_HTTP_TIMEOUT", "300"),
                "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(cache_folder() / "uv")),
                **uv_settings(pip_settings(self.python)),
            }
        )

    def venv(self, folder: Path) -> Path:
        """A virtual environment without pip; returns its Python."""
        run(
            [self.uv, "venv", "-q", "--python", sys.executable, folder],
            "Making a virtual environment failed",
            env=self.environment,
        )
        return python_in(folder)

    def install(
        self, python: Path | str, requirements: Sequence[str], what: str, extra: Sequence[str] = ()
    ) -> None:
        run(
            [
                self.uv,
                "pip",
                "install",
                "-q",
                "--compile-bytecode",
                "--python",
                python,
                *extra,
                *requirements,
            ],
            f"Installing {what} failed",
            NETWORK,
            self.environment,
        )

    def download_source(self, requirement: str, sha256: str, folder: Path) -> Path:
        """Fetch one source distribution, checked by its hash; returns the archive."""
        folder.mkdir(parents=True)
        wanted = folder / "source.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        run(
            [
                self.python,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--require-hashes",
                "--ignore-requires-python",
                "--no-binary",
                requirement.split("==")[0],
                "-d",
                folder,
                "-r",
                wanted,
            ],
            f"Downloading {requirement} failed",
            NETWORK,
        )
        return next(folder.glob("*.tar.gz"))


def _build(folder: Path) -> None:
    with step("installer (pip and uv)"):
        try:
            run([sys.executable, "-m", "venv", folder / "venv"], "Making a virtual environment failed")
        except DevError as error:
            remedy = (
                "This Python cannot make virtual environments. On Debian `apt install python3-venv`, "
                "otherwise use a Python from python.org, pyenv or conda. Then run again."
            )
            raise DevError(error.what, advice(error.what) or remedy) from error
        run([python_in(folder / "venv"), "-m", "pip", "install", "-q", UV], "Installing uv failed", NETWORK)


def pip_settings(python: Path) -> dict[str, str]:
    """pip's effective settings: environment over its section for `install` over `global`."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in run([python, "-m", "pip", "config", "list"], "Reading pip's settings failed").splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if equals and section in found:
            found[section][key] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def uv_settings(pip: Mapping[str, str]) -> dict[str, str]:
    """The same settings under uv's names; what is already set for uv stays."""
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "trusted-host": "UV_INSECURE_HOST",
        "no-index": "UV_NO_INDEX",
        "cert": "SSL_CERT_FILE",
        "client-cert": "SSL_CLIENT_CERT",
        "proxy": "ALL_PROXY",
    }
    found = {names[key]: " ".join(value.split()) for key, value in pip.items() if key in names}
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = found["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in found:  # pip takes the best version of all indexes, uv by default that of the first
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if name not in os.environ}
