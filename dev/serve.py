"""``dev.py serve``: ComfyUI in the browser, with the pack, its workflows and its pictures."""

from __future__ import annotations

import argparse
import shutil
import socket
from contextlib import ExitStack

from .demo import pictures
from .host import find_host
from .report import DevError, say, step
from .server import ROOT, Host, free_port

BASE = ROOT / "out" / "serve"  # kept, so that pictures and edited workflows survive


def serve(options: argparse.Namespace) -> int:
    found = find_host(options.host)
    port = options.port if _is_free(options.port) else free_port()
    if port != options.port:
        say(f"Port {options.port} is taken; using {port}.")
    checkpoints = [options.checkpoint] if options.checkpoint else []
    host = Host(
        found.path,
        found.python,
        base=BASE,
        port=port,
        inputs=pictures(),
        checkpoints=checkpoints,
        cpu=not options.gpu,
    )
    shelf = BASE / "user" / "default" / "workflows"
    shelf.mkdir(exist_ok=True)
    workflows = sorted((ROOT / "workflows").glob("*.json"))
    for file in workflows:
        shutil.copyfile(file, shelf / file.name)
    with ExitStack() as stack:
        with step(f"start ComfyUI {found.version}"):
            stack.enter_context(host)
        say(f"\nOpen {host.url} in a browser.")
        if workflows:
            names = " or ".join(file.stem for file in workflows)
            say(f"There press W (Workflows) and open {names}. The first to try: magicstyle_demo.")
        say(f"Pictures are written to {BASE / 'output'}. Ctrl-C stops the server.")
        assert host.process is not None
        try:
            code = host.process.wait()
        except KeyboardInterrupt:
            say("\nstopped")
            return 0
        raise DevError(
            f"ComfyUI ended (exit code {code}). The end of its log:\n{host.tail()}", f"The log is {host.log}."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
