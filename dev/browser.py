"""Drive ComfyUI's front end in a headless Chromium, as a user would.

Needs playwright, which is one of the test tools; nothing is imported before a browser is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--no-sandbox",  # Chromium refuses to start as root with it
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--mute-audio",
)
VIRTUAL = ("Note", "MarkdownNote", "PrimitiveNode", "Reroute")  # of the front end, unknown to the server
READY = (
    "window.app?.extensionManager && app.canvas && !document.querySelector('#splash-loader')"
    " && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100"
)
ENDINGS = ("execution_success", "execution_error", "execution_interrupted")
RECORD = """kinds => {
    window.events = [];
    for (const kind of kinds) app.api.addEventListener(kind, e => window.events.push([kind, e.detail]));
}"""
ENDED = """endings => window.events.some(([kind]) => endings.includes(kind))
    || document.querySelector('[data-testid=error-overlay]')"""
IDLE = """async () => {
    const queue = await (await app.api.fetchApi('/queue')).json();
    return queue.queue_running.length + queue.queue_pending.length === 0;
}"""
# Answered by 404 on a fresh server: settings and files that nobody has saved yet.
NOISE = ("404 (Not Found)", "status code 404", "graph accessed before initialization")
WAIT = 60_000  # ms: generous, for machines with other work


@contextmanager
def chromium(executable: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS), timeout=WAIT)
        try:
            yield browser
        finally:
            browser.close()


class FrontEnd:
    """ComfyUI's page in a context of its own. ``page`` is playwright's, for everything not covered here."""

    def __init__(self, browser: Any, url: str, size: tuple[int, int] = (1600, 1000)) -> None:
        self.url = url
        self.problems: list[str] = []  # errors in the page's console
        self.foreign: list[str] = []  # requests to anywhere but the server; none gets through
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.context.set_default_timeout(WAIT)
        self.context.route(lambda url: not self._own(url), self._refuse)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("console", self._listen)

    def _own(self, url: str) -> bool:
        return url.startswith((self.url, "data:", "blob:"))

    def _refuse(self, route: Any) -> None:
        self.foreign.append(route.request.url)
        route.abort()

    def _listen(self, message: Any) -> None:
        if message.type == "error" and not any(noise in message.text for noise in NOISE):
            self.problems.append(f"console: {message.text}")

    def open(self) -> FrontEnd:
        """Open the page and wait until an empty graph is there."""
        self.page.goto(self.url, wait_until="domcontentloaded")
        self.page.wait_for_function(READY)
        self.page.evaluate(RECORD, ["execution_start", "executed", *ENDINGS])
        self.clear()  # the front end opens with a graph of its own choice
        return self

    def clear(self) -> None:
        """An empty graph, nothing running, and nothing to complain about yet."""
        self.page.wait_for_function(IDLE)
        self.command("Comfy.NewBlankWorkflow")
        self.wait_for_nodes(0)
        self.problems.clear()
        self.foreign.clear()

    def close(self) -> None:
        self.context.close()

    def command(self, name: str) -> None:
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def set_setting(self, name: str, value: object) -> None:
        self.page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def wait_for_nodes(self, count: int) -> None:
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=count)

    def load(self, workflow: dict[str, Any]) -> None:
        """Load a workflow in UI format."""
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.wait_for_nodes(len(workflow["nodes"]))

    def load_prompt(self, prompt: dict[str, Any]) -> None:
        """Load a prompt in API format; the front end makes nodes of it, all in one row."""
        self.page.evaluate("prompt => app.loadApiJson(prompt, 'prompt.json')", prompt)
        self.wait_for_nodes(len(prompt))

    def drop(self, file: Path) -> None:
        """Drop a file on the canvas, as from a file manager."""
        session = self.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(file.resolve())], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 800, "y": 500, "data": data})

    def serialize(self) -> dict[str, Any]:
        return json.loads(self.page.evaluate("JSON.stringify(app.graph.serialize())"))

    def prompt(self) -> dict[str, Any]:
        """What Run would send to the server."""
        text = self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
        return json.loads(text)

    def unknown_types(self) -> list[str]:
        return self.page.evaluate(
            """known => app.graph._nodes.map(node => node.type)
                .filter(type => !(type in LiteGraph.registered_node_types) && !known.includes(type))""",
            list(VIRTUAL),
        )

    def errors(self) -> str:
        """Text of the error overlay; empty if there is none."""
        overlay = self.page.get_by_test_id("error-overlay")
        return overlay.first.inner_text() if overlay.count() else ""

    def run(self) -> tuple[str, dict[str, Any]]:
        """Press Run and wait: the last event and its data, or ``refused`` and the text of the overlay."""
        self.page.evaluate("window.events.length = 0")
        self.page.get_by_test_id("queue-button").click()
        # A prompt that the server refuses causes no event; one that it refuses in part causes both.
        self.page.wait_for_function(ENDED, arg=list(ENDINGS))
        endings = [event for event in self.page.evaluate("window.events") if event[0] in ENDINGS]
        if endings and (endings[-1][0] != "execution_success" or not self.errors()):
            return endings[-1][0], endings[-1][1]
        return "refused", {"text": self.errors()}

    def set_widget(self, node: int | str, name: str, value: object) -> None:
        self.page.evaluate(
            """([id, name, value]) => {
                const widget = app.graph.getNodeById(id).widgets.find(widget => widget.name === name);
                widget.value = value;
                widget.callback?.(value);
            }""",
            [node, name, value],
        )

    def center(self, node: int, zoom: float = 1) -> tuple[float, float]:
        """Bring a node into the middle of the view; the page's coordinates of its upper left corner."""
        self.page.evaluate(
            """([id, zoom]) => {
                const node = app.graph.getNodeById(id), view = app.canvas.ds;
                view.scale = zoom;
                view.offset = [-node.pos[0] + 500 / zoom, -node.pos[1] + 300 / zoom];
                app.canvas.setDirty(true, true);
            }""",
            [node, zoom],
        )
        self.page.wait_for_timeout(300)  # drawn with the next frames
        x, y = self.page.evaluate("(({ x, y }) => [x, y])(app.canvas.canvas.getBoundingClientRect())")
        return x + 500, y + 300

    def screenshot(self, file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(file))
        return file
