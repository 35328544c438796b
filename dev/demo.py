"""``dev.py demo``: portraits, end to end, in a real ComfyUI."""

from __future__ import annotations

import argparse
import shutil
import urllib.error
from contextlib import ExitStack
from pathlib import Path

from .client import Prompt, PromptFailedError, PromptRefusedError, Run
from .gallery import Gallery
from .graph import INVERSION, Graph
from .host import find_host
from .report import DevError, run, say, step
from .server import ROOT, Host
from .timing import Timeline, table

PROMPTS = ROOT / "tests" / "prompts"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
REMEDY = "The server's log is in {log}."
# What the demo shows of itself, near the size at which its model was trained.
PORTRAITS = ("portrait_astronaut.jpg", "portrait_hopper.jpg", "rendered_woman.jpg", "rendered_man.jpg")
STYLES = ("style_woodcut.jpg", "style_oil.jpg", "style_pastel.jpg", "style_neon.jpg")
SIZE = 144
Cells = list[tuple[str, Path | None]]  # a row of the sheet: labels and pictures


def pictures() -> list[Path]:
    """The pack's own portraits and style pictures."""
    return sorted(p for p in (ROOT / "assets").rglob("*") if p.suffix.lower() in PICTURES)


def demo(options: argparse.Namespace) -> int:
    """A portrait in a style, with times; then, where nothing of the user's is given, our own in several styles."""
    name = "magicstyle_portrait.json" if options.checkpoint else "magicstyle_demo.json"
    graph = Graph.load(PROMPTS / name)
    inputs = {p.name: p for p in pictures()}
    content, style = (
        _picture(graph, title, given, inputs)
        for title, given in (("Content", options.content), ("Style", options.style))
    )
    if options.checkpoint:
        _existing(options.checkpoint, "--checkpoint")
        graph.set(graph.one("CheckpointLoaderSimple"), ckpt_name=options.checkpoint.name)
    inversion = graph.one(INVERSION)
    if options.steps:
        graph.set(inversion, steps=options.steps)
    fused, saver = graph.result()
    graph.set(saver, filename_prefix="result")
    plain, plain_saver = graph.add_reconstruction()

    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    found = find_host(options.host)
    timeline = Timeline({i: graph.title(i) for i in graph.nodes})
    checkpoints = [options.checkpoint] if options.checkpoint else []
    host = Host(found.path, found.python, inputs=inputs, checkpoints=checkpoints, cpu=not options.gpu)
    with ExitStack() as stack:
        with step(f"start ComfyUI {found.version}"):
            stack.enter_context(host)
        say(f"run {graph.name}")
        done = _run(host, graph.nodes, timeline, out)
        saved = {"result": saver, "reconstruction": plain_saver}
        for picture, node in saved.items():
            (out / f"{picture}.png").write_bytes(host.client.images(done, node)[0])
        if options.content or options.style or options.checkpoint:
            back, result = out / "reconstruction.png", out / "result.png"
            rows = [[("content", content), ("style", style), ("without style", back), ("result", result)]]
        else:
            say(f"run {len(PORTRAITS)} portraits in {len(STYLES)} styles")
            rows = _gallery(host, options.steps, out, inputs)
    with step("sheet"):
        _sheet(found.python, out, rows)
    say(f"\n{table(timeline, inversion, fused, plain)}\n\n{out / 'result.png'}\n{out / 'sheet.png'}")
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


def _run(host: Host, prompt: Prompt, timeline: Timeline, out: Path) -> Run:
    """Run the prompt; a failure keeps the server's log, which goes away with the server otherwise."""
    log = out / "comfyui.log"
    try:
        return host.client.run(prompt, timeline, timeout=3600)
    except (PromptRefusedError, PromptFailedError) as error:
        shutil.copyfile(host.log, log)
        raise DevError(str(error), REMEDY.format(log=log)) from error
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        shutil.copyfile(host.log, log)
        raise DevError(
            f"The connection to ComfyUI broke: {error}\n{host.tail(8)}", REMEDY.format(log=log)
        ) from error


def _gallery(host: Host, steps: int | None, out: Path, inputs: dict[str, Path]) -> list[Cells]:
    """Rows of the sheet: the style pictures above, then every portrait as it is, without style, and in each style."""
    template = Graph.load(PROMPTS / "batch_portraits.json")
    if steps:
        template.set(template.one("MagicStyle_Invert"), steps=steps)
    gallery = Gallery(template, PORTRAITS, STYLES, SIZE)
    nodes = gallery.graph.nodes
    done = _run(host, nodes, Timeline({i: gallery.graph.title(i) for i in nodes}), out)
    folder = out / "sheet"
    folder.mkdir(exist_ok=True)
    columns: list[Cells] = [[("", None), *(("portrait", inputs[name]) for name in PORTRAITS)]]
    for style, saver in gallery.savers.items():
        label = style.removeprefix("style_").removesuffix(".jpg") if style else "without style"
        column: Cells = [(label, inputs[style]) if style else ("", None)]
        for portrait, picture in zip(PORTRAITS, host.client.images(done, saver), strict=True):
            file = folder / f"{Path(portrait).stem} {label}.png"
            file.write_bytes(picture)
            column.append((label, file))
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def _sheet(python: str, out: Path, rows: list[Cells]) -> None:
    height = 512 if len(rows) == 1 else 2 * SIZE
    cells = [part for row in rows for part in ("/", *(f"{label}={file or ''}" for label, file in row))]
    script = Path(__file__).with_name("sheet.py")
    run([python, script, out / "sheet.png", str(height), *cells], "Making the sheet failed")
