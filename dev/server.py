"""Start a real ComfyUI with this pack for a with-block.

Everything it reads and writes lies in a base folder of its own, so runs do not see each other, and nothing
of the user's ComfyUI is touched. The pack is loaded under its published name, whatever the clone is called.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .client import Client
from .report import PREEXEC, QUIET, DevError, clean_environment
from .workspace import Inputs, prepare

ROOT = Path(__file__).resolve().parents[1]
PACK = "magicstyle"
FLAGS = ("--disable-api-nodes", "--disable-auto-launch", "--dont-print-server", "--log-stdout")
PREVIEWS = ("--preview-method", "latent2rgb")
# On a CPU ComfyUI defaults to sub-quadratic attention, which takes twice the time of torch's own.
CPU = ("--cpu", "--use-pytorch-cross-attention")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Host:
    """``with Host(path, python) as host: host.client.run(prompt)``

    ``inputs`` (files, or files by the name to use) are copied into the input folder, ``checkpoints`` linked
    into the models, ``packs`` (folders by name) loaded beside ours, ``flags`` handed to ComfyUI.
    The server dies with the thread that started it, so start it from the main thread.
    """

    def __init__(
        self,
        path: str | Path,
        python: str | Path,
        *,
        inputs: Inputs = (),
        checkpoints: Iterable[Path] = (),
        packs: Mapping[str, Path] | None = None,
        base: Path | None = None,
        port: int | None = None,
        flags: Sequence[str] = (),
        cpu: bool = True,
        settings: Mapping[str, object] | None = None,
        timeout: float = 180,
    ) -> None:
        self.path, self.python, self.timeout = Path(path), str(python), timeout
        self.temporary = base is None
        self.base = Path(base or tempfile.mkdtemp(prefix="magicstyle-")).absolute()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.url)
        self.log = self.base / "comfyui.log"
        own = prepare(self.base, {PACK: ROOT, **(packs or {})}, inputs, checkpoints, settings or {})
        self.flags = ["--port", str(self.port), *FLAGS, *PREVIEWS, *(CPU if cpu else ()), *own, *flags]
        self.process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0

    def __enter__(self) -> Host:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> Host:
        """Start the process and wait until it answers; ``DevError`` with the end of its log otherwise."""
        begin = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.python, "-u", str(self.path / "main.py"), *self.flags],
                cwd=self.path,
                env=clean_environment(QUIET),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=PREEXEC,
            )
        while not self._answers():
            ended = self.process.poll() is not None
            if ended or time.monotonic() - begin > self.timeout:
                why = "ended" if ended else f"did not answer within {self.timeout:g} s"
                self.stop()
                raise DevError(f"ComfyUI {why}. The end of its log:\n{self.tail()}", "See the log above.")
            time.sleep(0.1)
        self.start_seconds = time.monotonic() - begin
        return self

    def _answers(self) -> bool:
        try:
            self.client.get("/system_stats")
        except (OSError, ValueError):
            return False
        return True

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()  # not an interrupt: background jobs of a shell start with that one ignored
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = 30) -> str:
        """The last lines of ComfyUI's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
