"""The demo prompt over HTTP and WebSocket: to success, from the cache, interrupted, failing."""

import io
import json
import urllib.parse

import live_host
import pytest
from live_host import only, small
from PIL import Image

from dev.client import ENDINGS, PromptFailedError
from dev.websocket import WebSocket

SILENCE = 240  # seconds without a message: generous, for machines with other work


def listen(host, prompt, client_id):
    """All messages of a run as (kind, data); previews as ("preview", (node that ran, picture))."""
    address = urllib.parse.urlsplit(host.url)
    socket = WebSocket(address.hostname, address.port, f"/ws?clientId={client_id}", SILENCE)
    messages, running = [], None
    try:
        host.client.submit(prompt, client_id)
        while not messages or messages[-1][0] not in ENDINGS:
            message = socket.receive()
            if isinstance(message, bytes):
                messages.append(("preview", (running, message[8:])))  # after type and format
                continue
            content = json.loads(message)
            messages.append((content["type"], content.get("data") or {}))
            if content["type"] == "executing":
                running = content["data"]["node"]
    finally:
        socket.close()
    return messages


def follow(host, prompt, on_event=lambda event: None):
    events = []
    for event in host.client.follow(prompt, SILENCE):
        events.append(event)
        on_event(event)
    return events


def test_the_demo_prompt_gives_a_picture_of_the_right_size(host, demo):
    run = host.client.run(demo, timeout=SILENCE)
    (picture,) = host.client.images(run, only(demo, "SaveImage"))
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size == (64, 64)
        assert any(low < high for low, high in image.convert("RGB").getextrema())
    (text,) = run.outputs[only(demo, "MagicStyle_BankInfo")]["text"]
    assert "Steps: 4, method exact" in text


def test_inversion_and_sampling_report_progress_and_previews(host, demo):
    prompt = small(demo, size=72)
    messages = listen(host, prompt, "watcher")
    assert messages[-1][0] == "execution_success"
    for kind in ("MagicStyle_CSDI", "MagicStyle_FusedSampler"):
        node = only(prompt, kind)
        progress = [data for name, data in messages if name == "progress" and data["node"] == node]
        assert [data["value"] for data in progress][-1] == progress[-1]["max"] == 4
        assert len(progress) >= 4
        previews = [data[1] for name, data in messages if name == "preview" and data[0] == node]
        assert len(previews) >= 1
        with Image.open(io.BytesIO(previews[-1])) as preview:
            assert preview.width == preview.height


def test_the_same_prompt_again_is_answered_from_the_cache(host, demo):
    prompt = small(demo, size=80)
    follow(host, prompt)
    again = follow(host, prompt)
    assert again[-1].kind == "execution_success"
    cached = {node for event in again if event.kind == "execution_cached" for node in event.data["nodes"]}
    ran = {event.node for event in again if event.kind == "executing" and event.node}
    assert only(prompt, "MagicStyle_CSDI") in cached
    assert only(prompt, "MagicStyle_FusedSampler") in cached
    assert ran <= {only(prompt, "MagicStyle_BankInfo")}


def test_interrupting_the_inversion_leaves_nothing_behind(host, demo):
    prompt = small(demo, steps=40)
    inversion = only(prompt, "MagicStyle_CSDI")
    asked = []

    def interrupt_once(event):
        if event.kind == "progress" and event.node == inversion and not asked:
            asked.append(event)
            host.client.interrupt()

    ending = follow(host, prompt, interrupt_once)[-1]
    assert (ending.kind, ending.data["node_id"]) == ("execution_interrupted", inversion)
    run = host.client.run(prompt, timeout=SILENCE)
    assert len(host.client.images(run, only(prompt, "SaveImage"))) == 1


def test_banks_of_different_schedules_are_refused_in_words(host, demo):
    prompt = small(demo)
    csdi = prompt.pop(only(prompt, "MagicStyle_CSDI"))["inputs"]
    shared = {name: value for name, value in csdi.items() if name not in ("content", "style", "steps")}
    for node, role, steps in (("20", "content", 4), ("21", "style", 5)):
        inputs = {**shared, "latent": csdi[role], "steps": steps}
        prompt[node] = {"class_type": "MagicStyle_Invert", "inputs": inputs}
    for node in prompt.values():
        for name, bank in (("content_bank", "20"), ("bank", "20"), ("style_bank", "21")):
            if name in node["inputs"]:
                node["inputs"][name] = [bank, 0]
    with pytest.raises(PromptFailedError, match="different schedules") as failure:
        host.client.run(prompt, timeout=SILENCE)
    assert failure.value.kind == "execution_error"
    assert failure.value.data["node_type"] == "MagicStyle_FFA"
    assert failure.value.data["exception_type"] == "ValueError"
    assert "Use the same steps and scheduler" in str(failure.value)


def test_a_server_without_a_cache_runs_everything_each_time(demo):
    with live_host.launch("--cache-none") as host:
        for _ in range(2):
            events = follow(host, demo)
            assert events[-1].kind == "execution_success"
            ran = {event.node for event in events if event.kind == "executing" and event.node}
            assert ran == set(demo)
