"""``dev.py workflows``: tidy the workflows of the pack, and write their prompts.

A file in ``workflows/`` is what a user saved: change one in the browser and save it over the old. The real front end
then loads it, saves it again in its own words, and says what Run would send: that goes to ``tests/prompts``, which the
demo and the tests run without a browser. ``--thumbnail NAME=PICTURE`` makes ``workflows/<name>.jpg`` of a picture, such
as a result of ``dev.py demo``; the Templates dialog shows the middle square of it.
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
from .report import PREEXEC, DevError, say, step
from .server import ROOT, Host
from .tools import find_browser, test_environment

FOLDER, PROMPTS = ROOT / "workflows", ROOT / "tests" / "prompts"
SETTINGS = {"Comfy.Minimap.Visible": False}
THUMBNAIL_WIDTH = 400  # pixels
LINE = 108
VIEW = {"scale": 0.6, "offset": [130, 425]}  # everything on one screen
def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def saved(front: FrontEnd, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workflow as the front end saves it, and the prompt that it means."""
    front.load(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
    front.page.wait_for_timeout(500)  # pictures arrive and resize their nodes
    front.load(tidy(front.serialize(), name))
    return tidy(front.serialize(), name), front.prompt()  # once more: loading fills in what saving again would change


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
    """Write all workflows and prompts anew; a screenshot becomes the thumbnail of a workflow that has none."""
    executable = find_browser()
    if executable is None:
        raise DevError("No Chromium was found.", "Install one, or set MAGICSTYLE_BROWSER to its program.")
    found = find_host()
    server = Host(found.path, found.python, inputs=pictures(), settings=SETTINGS)
    with tempfile.TemporaryDirectory() as scratch, server as host:
        with step("a saved style"):  # that batch_portraits loads
            host.client.run(json.loads((PROMPTS / "style_library.json").read_text(encoding="utf-8")))
        with chromium(executable) as browser:
            for name in names():
                with step(name):
                    front = FrontEnd(browser, host.url).open()
                    workflow, prompt = saved(front, name)
                    (FOLDER / f"{name}.json").write_text(pretty(workflow) + "\n", encoding="utf-8")
                    (PROMPTS / f"{name}.json").write_text(pretty(prompt) + "\n", encoding="utf-8")
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
        if name not in names() or not Path(picture).is_file():
            parser.error(f"--thumbnail {given}: expected one of {', '.join(names())}, '=', and a picture")
        say(f"wrote {thumbnail(Path(picture), name)}")


if __name__ == "__main__":
    main()
