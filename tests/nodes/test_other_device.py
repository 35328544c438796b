"""The graphs where the network is on another device than banks, latents and pictures: nothing is left behind, and the
picture is that of the CPU."""

import pytest
import thin_models
import torch
from demo_prompts import DEMO, PROMPT, text
from graphs import MATCHED, error_of, full, keep, model, node
from in_process import Executor
from other_device import OTHER, OtherDevice

import comfy.model_base
import comfy.model_management

ROOM = 8_000_000_000


@pytest.fixture
def evaluated(monkeypatch):
    """Lets the host find the device; collects where the network was evaluated."""

    def room(device=None, torch_too=False, **more):
        return (ROOM, ROOM) if torch_too or more else ROOM

    patcher, apply_model, devices = thin_models.ModelPatcher, comfy.model_base.BaseModel.apply_model, set()

    def noting(self, x, *args, **kwargs):
        devices.update((x.device, next(self.parameters()).device))
        return apply_model(self, x, *args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: OTHER)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", room)
    monkeypatch.setattr(comfy.model_management, "get_total_memory", room)
    monkeypatch.setattr(thin_models, "ModelPatcher", lambda network, load, offload: patcher(network, OTHER, offload))
    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", noting)
    return devices


def short(*changes, steps=2, **inversion):
    """Every operation there is watched, and takes its time."""
    return full(*changes, steps=steps, **inversion)


def guided():
    """Three portraits, a prompt for each side; only positive rows are fused, by half."""
    graph = short({"rows": "positive", "strength": 0.5}, {"cfg": 5.0}, content={"batch": 3})
    graph["text"] = node("TestPrompt", seed=1, tokens=77, width=64)
    graph["fff"]["inputs"]["positive"] = ["text", 0]
    return graph


GRAPHS = {
    **{
        f"storage {tier}": lambda tier=tier: short(storage=tier) for tier in ("auto", "gpu", "cpu", "disk", "recompute")
    },
    "int8": lambda: short(storage="gpu", precision="int8"),
    "fixed_point": lambda: short(method="fixed_point"),
    "three portraits, cfg 5, positive rows": guided,
    "matched queries, pieces, a style of another size": lambda: short(
        MATCHED, {"color": "match", "texture": 1.0, "style_strength": 0.7}, style={"height": 24}, steps=4
    ),
    "weighted keys": lambda: short({"keys": "content+style", "style_weight": 4.0}),
    "a method and its look": lambda: short(
        {"method": "StyleAligned", "style_scale": 0.8, "style_weight": 2.0}, {"look": "as the method"}
    ),
    "a style reference": lambda: short({"method": "Visual Style Prompting", "content": False}),
    "SDXL": lambda: short(loader=model("SDXL")),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_another_device_gives_the_same_picture(run, evaluated, monkeypatch, graph):
    fused = graph()
    del fused["plain"], fused["keep plain"]
    with OtherDevice():
        there = Executor().run(fused)["result"]
    assert evaluated == {OTHER}
    assert there["samples"].device.type == "cpu"
    monkeypatch.undo()
    here = run(graph())
    assert error_of(there, here["result"]) < 1e-5
    assert error_of(here["result"], here["plain"]) > 1e-3  # and FFA acts


def test_prompts_of_the_demo_model_are_encoded_there(texts, pack, evaluated, monkeypatch):
    encoder = pack("nodes.demo_text").TextEncoder
    graph = DEMO | {"said": text(f"{PROMPT}, (hills:1.2)"), "keep": keep(["said", 0], "said")}
    encode, devices = encoder.forward, set()

    def noting(self, tokens, *layers):
        devices.update((tokens.device, self.positions.device, self.words.weight.device))
        return encode(self, tokens, *layers)

    monkeypatch.setattr(comfy.model_management, "text_encoder_device", lambda: OTHER)
    monkeypatch.setattr(encoder, "forward", noting)
    with OtherDevice():
        there = Executor().run(graph)["said"][0][0]
    assert devices == {OTHER}
    assert there.device.type == "cpu"
    monkeypatch.undo()
    assert torch.allclose(there, texts(graph)["said"][0][0], atol=1e-5)
