"""``dev.py workflows``: write the workflows of the pack from their prompts.

A prompt in ``tests/prompts`` says what is computed; the layout here says where it stands on the canvas. The
real front end turns both into ``workflows/<name>.json``, so the files are what a user would have saved.
``--thumbnail NAME=PICTURE`` makes ``workflows/<name>.jpg`` of a picture, such as a result of ``dev.py demo``;
the Templates dialog shows the middle square of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from .browser import FrontEnd, chromium
from .demo import pictures
from .host import find_host
from .layout import GROUPS, NOTES, PLACES
from .report import PREEXEC, DevError, say, step
from .server import ROOT, Host
from .tools import find_browser, test_environment

NAMES = (
    "magicstyle_demo",
    "magicstyle_paper",
    "magicstyle_portrait",
    "keep_colors",
    "ablation_grid",
    "style_library",
    "batch_portraits",
)
FOLDER, PROMPTS = ROOT / "workflows", ROOT / "tests" / "prompts"
KEPT_TITLES = ("Content", "Style")
SETTINGS = {"Comfy.Minimap.Visible": False}
THUMBNAIL_WIDTH = 400  # pixels
LINE = 108
VIEW = {"scale": 0.6, "offset": [130, 425]}  # everything on one screen
ARRANGE = """([places, groups, note, kept]) => {
    const place = (node, [x, y, width, height]) => { node.pos = [x, y]; node.setSize([width, height]); };
    for (const node of app.graph._nodes) {
        if (!kept.includes(node.title)) node.title = node.constructor.title;
        place(node, places[node.id]);
    }
    const paper = LiteGraph.createNode('MarkdownNote');
    app.graph.add(paper);
    paper.title = 'What to do';
    paper.widgets[0].value = note.text;
    place(paper, note.place);
    for (const { title, color, bounding } of groups) {
        const group = new LiteGraph.LGraphGroup(title);
        group.color = color;
        group.pos = bounding.slice(0, 2);
        group.size = bounding.slice(2);
        app.graph.add(group);
    }
}"""


def author(front: FrontEnd, name: str) -> dict[str, Any]:
    """The workflow in UI format, as the front end saves it."""
    prompt = json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8"))
    front.load_prompt(prompt)
    missing = sorted(set(prompt) - set(PLACES[name]), key=int)
    if missing:
        raise DevError(f"{name}: no place for nodes {', '.join(missing)}.", "Add them to dev/layout.py.")
    front.page.evaluate(ARRANGE, [PLACES[name], GROUPS[name], NOTES[name], list(KEPT_TITLES)])
    front.page.wait_for_timeout(500)  # pictures arrive and resize their nodes
    front.load(tidy(front.serialize(), name))
    return tidy(front.serialize(), name)  # once more: loading fills in what saving again would change


def tidy(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """The same workflow with an identity and a view that do not change from one writing to the next."""
    workflow = json.loads(json.dumps(workflow), parse_float=lambda text: _plain(round(float(text), 3)))
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.magicstyle"))
    workflow["revision"] = 0
    workflow["extra"] = {**workflow.get("extra", {}), "ds": VIEW}
    for node in workflow["nodes"]:
        node["id"] = int(node["id"])  # as text where the prompt had it so
    for link in workflow["links"]:
        link[1], link[3] = int(link[1]), int(link[3])
    workflow["nodes"].sort(key=lambda node: node["id"])
    return workflow


def _plain(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def pretty(value: Any, indent: int = 0) -> str:
    """JSON with one line for whatever fits in one."""
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= LINE or not isinstance(value, (dict, list)):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(k)}: {pretty(v, indent + 2)}" for k, v in value.items()]
    else:
        inner = [pad + pretty(v, indent + 2) for v in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(inner) + "\n" + " " * indent + closing


def thumbnail(picture: Path, name: str) -> Path:
    """``workflows/<name>.jpg`` of any picture."""
    from PIL import Image

    target = FOLDER / f"{name}.jpg"
    with Image.open(picture) as image:
        size = (THUMBNAIL_WIDTH, round(image.height * THUMBNAIL_WIDTH / image.width))
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target, quality=88)
    return target


def write(shots: Path | None) -> None:
    """Write all workflows; a screenshot becomes the thumbnail of a workflow that has none."""
    executable = find_browser()
    if executable is None:
        raise DevError("No Chromium was found.", "Install one, or set MAGICSTYLE_BROWSER to its program.")
    found = find_host()
    FOLDER.mkdir(exist_ok=True)
    server = Host(found.path, found.python, inputs=pictures(), settings=SETTINGS)
    with tempfile.TemporaryDirectory() as scratch, server as host:
        with step("a saved style"):  # that batch_portraits loads
            host.client.run(json.loads((PROMPTS / "style_library.json").read_text(encoding="utf-8")))
        with chromium(executable) as browser:
            for name in NAMES:
                with step(name):
                    front = FrontEnd(browser, host.url).open()
                    workflow = author(front, name)
                    (FOLDER / f"{name}.json").write_text(pretty(workflow) + "\n", encoding="utf-8")
                    front.page.wait_for_timeout(1000)  # for the picture
                    shot = front.screenshot(Path(scratch) / f"{name}.png")
                    if shots:
                        shots.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(shot, shots / shot.name)
                    if not (FOLDER / f"{name}.jpg").exists():
                        thumbnail(shot, name)
                    front.close()


def workflows(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run this module with the host's Python, which has the browser's driver beside it."""
    found = find_host(options.host)
    command = [found.python, "-m", "dev.workflows", *arguments]
    return subprocess.call(command, cwd=ROOT, env=test_environment(found), preexec_fn=PREEXEC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py workflows", description=__doc__)
    parser.add_argument("--thumbnail", action="append", default=[], metavar="NAME=PICTURE")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="keep a picture of every graph")
    options = parser.parse_args()
    if not options.thumbnail:
        write(options.screenshots)
    for given in options.thumbnail:
        name, _, picture = given.partition("=")
        if name not in NAMES or not Path(picture).is_file():
            parser.error(f"--thumbnail {given}: expected one of {', '.join(NAMES)}, '=', and a picture")
        say(f"wrote {thumbnail(Path(picture), name)}")


if __name__ == "__main__":
    main()
