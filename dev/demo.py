"""``dev.py demo``: one portrait, end to end, in a real ComfyUI."""

from __future__ import annotations

import argparse
import shutil
import urllib.error
from contextlib import ExitStack
from pathlib import Path

from .client import PromptFailedError, PromptRefusedError, Run
from .graph import INVERSION, Graph
from .host import find_host
from .report import DevError, run, say, step
from .server import ROOT, Host
from .timing import Timeline, table

PROMPTS = ROOT / "tests" / "prompts"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
REMEDY = "The server's log is in {log}."


def pictures() -> list[Path]:
    """The pack's own portraits and style pictures."""
    return sorted(p for p in (ROOT / "assets").rglob("*") if p.suffix.lower() in PICTURES)


def demo(options: argparse.Namespace) -> int:
    name = "magicstyle_portrait.json" if options.checkpoint else "magicstyle_demo.json"
    graph = Graph.load(PROMPTS / name)
    inputs = {p.name: p for p in pictures()}
    shown = {
        title: _picture(graph, title, given, inputs)
        for title, given in (("Content", options.content), ("Style", options.style))
    }
    if options.checkpoint:
        _existing(options.checkpoint, "--checkpoint")
        graph.set(graph.one("CheckpointLoaderSimple"), ckpt_name=options.checkpoint.name)
    inversion = graph.one(INVERSION)
    if options.steps:
        graph.set(inversion, steps=options.steps)
    fused, saver = graph.result()
    graph.set(saver, filename_prefix="result")
    plain, plain_saver = graph.add_reconstruction()

    options.out.mkdir(parents=True, exist_ok=True)
    found = find_host(options.host)
    timeline = Timeline({i: graph.title(i) for i in graph.nodes})
    checkpoints = [options.checkpoint] if options.checkpoint else []
    host = Host(found.path, found.python, inputs=inputs, checkpoints=checkpoints, cpu=not options.gpu)
    with ExitStack() as stack:
        with step(f"start ComfyUI {found.version}"):
            stack.enter_context(host)
        say(f"run {graph.name}")
        done = _run(host, graph, timeline, options.out / "comfyui.log")
        saved = {"result": saver, "reconstruction": plain_saver}
        for picture, node in saved.items():
            (options.out / f"{picture}.png").write_bytes(host.client.images(done, node)[0])
    with step("sheet"):
        _sheet(found.python, options.out, shown)
    say(
        f"\n{table(timeline, inversion, fused, plain)}\n\n"
        f"{options.out / 'result.png'}\n{options.out / 'sheet.png'}"
    )
    return 0


def _existing(file: Path, option: str) -> Path:
    if not file.is_file():
        raise DevError(f"{option} {file}: there is no such file.")
    return file


def _picture(graph: Graph, title: str, given: Path | None, inputs: dict[str, Path]) -> Path:
    """Point a LoadImage node at the user's picture, if there is one; the file that it will show."""
    node = graph.one("LoadImage", title)
    if given:
        name = f"{title.lower()}-{_existing(given, '--' + title.lower()).name}"
        inputs[name] = given
        graph.set(node, image=name)
    name = graph.nodes[node]["inputs"]["image"]
    if name not in inputs:
        raise DevError(
            f"{graph.name} loads {name}, which assets/ does not have.",
            f"Give a picture with --{title.lower()}.",
        )
    return inputs[name]


def _run(host: Host, graph: Graph, timeline: Timeline, log: Path) -> Run:
    """Run the graph; a failure keeps the server's log, which goes away with the server otherwise."""
    try:
        return host.client.run(graph.nodes, timeline, timeout=3600)
    except (PromptRefusedError, PromptFailedError) as error:
        shutil.copyfile(host.log, log)
        raise DevError(str(error), REMEDY.format(log=log)) from error
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        shutil.copyfile(host.log, log)
        raise DevError(
            f"The connection to ComfyUI broke: {error}\n{host.tail(8)}", REMEDY.format(log=log)
        ) from error


def _sheet(python: str, out: Path, shown: dict[str, Path]) -> None:
    panels = {
        "content": shown["Content"],
        "style": shown["Style"],
        "without style": out / "reconstruction.png",
        "result": out / "result.png",
    }
    run(
        [
            python,
            Path(__file__).with_name("sheet.py"),
            out / "sheet.png",
            *(f"{k}={v}" for k, v in panels.items()),
        ],
        "Making the sheet failed",
    )
