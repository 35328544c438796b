"""Talk to a running ComfyUI: submit a prompt in API format, follow it, fetch what it saved."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .websocket import WebSocket

Prompt = dict[str, dict[str, Any]]
ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


class PromptRefusedError(Exception):
    """The server did not accept the prompt; ``node_errors`` as it sent them."""

    def __init__(self, body: dict[str, Any], status: int) -> None:
        self.status, self.node_errors = status, body.get("node_errors") or {}
        super().__init__(readable_refusal(body))


class PromptFailedError(Exception):
    """A node raised an error, or the run was interrupted; ``kind`` is the server's name of the event."""

    def __init__(self, kind: str, data: dict[str, Any]) -> None:
        self.kind, self.data = kind, data
        node = f"{data.get('node_type', '?')} (node {data.get('node_id', '?')})"
        super().__init__(
            f"{node} was interrupted"
            if kind == "execution_interrupted"
            else f"{node}: {data.get('exception_type', '')}: {data.get('exception_message', '').strip()}"
        )


@dataclass(frozen=True)
class Event:
    """A message of the server about a prompt, with the time of its arrival (``time.monotonic``)."""

    kind: str
    data: dict[str, Any]
    time: float

    @property
    def node(self) -> str | None:
        return self.data.get("node")


@dataclass
class Run:
    """A finished prompt: its events, and its outputs by node id as in the server's history."""

    prompt_id: str
    events: list[Event] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)


class Client:
    """One server address; every submitted prompt gets a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.fetch(path, **query))

    def fetch(self, path: str, **query: str) -> bytes:
        address = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and decoded answer; a refusal is an answer too."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body or {}).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, data = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read()
        try:
            return status, json.loads(data) if data else None
        except ValueError:
            return status, data.decode(errors="replace")

    def submit(self, prompt: Prompt, client_id: str | None = None) -> str:
        """Queue a prompt; its id, or ``PromptRefusedError`` with what is wrong in which input.

        ComfyUI accepts a prompt of which only some outputs are valid, and leaves the others out. Here that is
        a refusal too: whoever sends a prompt wants all of it.
        """
        body = {"prompt": prompt, "client_id": client_id or uuid.uuid4().hex}
        status, answer = self.post("/prompt", body)
        if status == 200 and answer["node_errors"]:
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.post("/interrupt", {"prompt_id": answer["prompt_id"]})
        if status != 200 or answer["node_errors"]:
            raise PromptRefusedError(answer if isinstance(answer, dict) else {"error": answer}, status)
        return answer["prompt_id"]

    def follow(self, prompt: Prompt, timeout: float = 600) -> Iterator[Event]:
        """Submit a prompt and yield its events up to its end. ``timeout`` bounds each silence.

        The connection comes first: events of a short prompt would otherwise be over before anybody listens.
        """
        client_id = uuid.uuid4().hex
        address = urllib.parse.urlsplit(self.url)
        socket = WebSocket(
            address.hostname or "127.0.0.1", address.port or 80, f"/ws?clientId={client_id}", timeout
        )
        try:
            prompt_id = self.submit(prompt, client_id)
            yield Event("submitted", {"prompt_id": prompt_id}, time.monotonic())
            while True:
                message = socket.receive()
                if isinstance(message, bytes):
                    continue  # a preview picture
                content = json.loads(message)
                data = content.get("data") or {}
                if data.get("prompt_id") != prompt_id:
                    continue
                yield Event(content["type"], data, time.monotonic())
                if content["type"] in ENDINGS:
                    return
        finally:
            socket.close()

    def run(
        self, prompt: Prompt, on_event: Callable[[Event], None] = lambda event: None, timeout: float = 600
    ) -> Run:
        """Submit, follow to the end, and collect; ``PromptFailedError`` if it does not end in success."""
        run = Run("")
        for event in self.follow(prompt, timeout):
            run.events.append(event)
            run.prompt_id = event.data["prompt_id"]
            on_event(event)
        if run.events[-1].kind != "execution_success":
            raise PromptFailedError(run.events[-1].kind, run.events[-1].data)
        run.outputs = self.history(run.prompt_id)["outputs"]
        return run

    def history(self, prompt_id: str, timeout: float = 30) -> dict[str, Any]:
        """The entry of a finished prompt. The server writes it shortly after it has sent the last event."""
        deadline = time.monotonic() + timeout
        while prompt_id not in (found := self.get(f"/history/{prompt_id}")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Prompt {prompt_id} is not in the history after {timeout:g} s.")
            time.sleep(0.02)
        return found[prompt_id]

    def images(self, run: Run, node: str) -> list[bytes]:
        """The encoded pictures that a SaveImage or PreviewImage node of this run gave."""
        pictures = run.outputs.get(node, {}).get("images", [])
        return [
            self.fetch("/view", **{k: picture[k] for k in ("filename", "subfolder", "type")})
            for picture in pictures
        ]

    def interrupt(self) -> None:
        self.post("/interrupt")


def readable_refusal(body: dict[str, Any]) -> str:
    """The server's refusal in lines for people: the error, then each node with its inputs."""
    error = body.get("error") or "Prompt outputs failed validation"
    lines = [f"The server refused the prompt: {error.get('message') if isinstance(error, dict) else error}"]
    for node, found in (body.get("node_errors") or {}).items():
        for item in found.get("errors", []):
            name = (item.get("extra_info") or {}).get("input_name", "")
            text = f"{item.get('message')}: {item.get('details')}"
            lines.append(f"  {found.get('class_type')} (node {node}) {name}: {text}")
    return "\n".join(lines)
