"""Prompts on the demo model, from words to latents: they act, and what cannot act is refused in words."""

import json
import logging
from pathlib import Path

import pytest
from companions import StandIn
from demo_prompts import DEMO, PROMPT, prompt, sampled, text
from graphs import INVERSION, LATENT, error_of, keep, node
from thin_models import SD15, patcher_of

import comfy.samplers
import nodes
from demo.text.encoder import WIDTH

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "tests" / "prompts"


def test_the_heaviest_weights_and_the_longest_prompt_give_numbers(texts):
    longest = "red, " * 4000
    kept = texts(
        sampled({
            "heavy": prompt("heavy", "(red hair:100)"), "light": prompt("light", "(red hair:-100)"),
            "long": prompt("long", longest),
        })
    )  # fmt: skip
    assert all(bool(latent["samples"].isfinite().all()) for latent in kept.values())


def test_prompts_change_the_picture_and_nothing_connected_is_the_empty_one(texts):
    zeroed = node("ConditioningZeroOut", conditioning=["given", 0])
    said, red = prompt("said", PROMPT), text("red hair")
    nothing = (["zero", 0], {"given": node("TestPrompt", seed=1, tokens=77, width=WIDTH), "zero": zeroed})
    kept = texts(sampled({"said": said, "empty": prompt("silent", ""), "nothing": nothing}))
    out = texts(sampled({"out": (["zero", 0], {"given": red, "zero": zeroed})}))["out"]
    assert error_of(kept["said"], kept["empty"]) > 0.01
    assert error_of(kept["nothing"], kept["empty"]) < 2e-4  # measured 6e-5: the host batches another length otherwise
    assert error_of(out, kept["empty"]) < 1e-6


def test_nodes_of_the_pack_take_nothing_for_the_empty_prompt(texts):
    graph = DEMO | {"latent": node("TestLatent", seed=1, batch=1, height=16, width=16, channels=16, value="")}
    for name, words in (("nothing", None), ("empty", ""), ("said", PROMPT)):
        told = {} if words is None else {"conditioning": [f"text {name}", 0]}
        graph |= {} if words is None else {f"text {name}": text(words)}
        graph[name] = node("MagicStyle_Invert", model=["demo", 0], latent=["latent", 0], **told, **INVERSION)
        graph[f"keep {name}"] = keep([name, 1], name)
    kept = texts(graph)
    assert error_of(kept["nothing"], kept["empty"]) < 1e-6
    assert error_of(kept["said"], kept["empty"]) > 1e-3


def test_a_batch_is_its_pictures_alone(texts):
    said = {"said": prompt("said", PROMPT)}
    both, alone = texts(sampled(said, batch=2))["said"], texts(sampled(said))["said"]
    assert both["samples"].shape == (2, 16, 16, 16)
    assert error_of({"samples": both["samples"][:1]}, alone) < 1e-4


def test_conditioning_nodes_act_as_on_stable_diffusion(texts):
    """Average, Combine and Concat lie beside both prompts, ranges and areas act where they are."""
    red, hills = ["red", 0], ["hills", 0]
    part = {"width": 1.0, "height": 0.5, "x": 0.0, "y": 0.0, "strength": 1.0}

    def average(strength):
        return node(
            "ConditioningAverage", conditioning_to=red, conditioning_from=hills, conditioning_to_strength=strength
        )

    made = {
        "average 1": average(1.0),
        "average": average(0.5),
        "combine": node("ConditioningCombine", conditioning_1=red, conditioning_2=hills),
        "twice": node("ConditioningCombine", conditioning_1=red, conditioning_2=red),
        "concat": node("ConditioningConcat", conditioning_to=red, conditioning_from=hills),
        "always": node("ConditioningSetTimestepRange", conditioning=red, start=0.0, end=1.0),
        "area": node("ConditioningSetAreaPercentage", conditioning=red, **part),
    }
    graph = sampled({name: ([name, 0], {name: made[name]}) for name in made})
    graph |= sampled({"red": prompt("red", "red hair"), "hills": prompt("hills", "green hills " * 30)})
    kept = texts(graph)
    for name in ("average 1", "twice", "always"):
        assert error_of(kept[name], kept["red"]) < 1e-5
    for name in ("average", "combine", "concat"):
        assert error_of(kept[name], kept["red"]) > 1e-3
        assert error_of(kept[name], kept["hills"]) > 1e-3
    inside, outside = (
        error_of(*({"samples": kept[name]["samples"][:, :, rows]} for name in ("area", "red")))
        for rows in (slice(0, 8), slice(8, 16))
    )
    assert inside < outside


def test_foreign_conditionings_are_refused_before_sampling(texts):
    sd = {"sd": node("TestPrompt", seed=1, tokens=77, width=768)}
    with pytest.raises(AssertionError, match="ValueError: The conditioning is 768 wide, the demo model needs 64. Use"):
        texts(sampled({"sd": (["sd", 0], sd)}))
    graph = sampled({"said": prompt("said", PROMPT)})
    graph |= sd
    graph["sampled said"]["inputs"]["negative"] = ["sd", 0]
    with pytest.raises(AssertionError, match="ValueError: The conditioning is 768 wide"):
        texts(graph)


class WideModel(StandIn):
    """A Stable Diffusion of the usual width of prompts, whose weights do not matter."""

    RETURN_TYPES = ("MODEL",)

    def run(self):
        return (patcher_of("SD15", {**SD15, "context_dim": 768}),)


@pytest.mark.parametrize("nodes_of", ["the pack", "the host"])
def test_its_prompts_are_refused_on_other_models(texts, monkeypatch, nodes_of):
    """In the pack's words by the pack's nodes; the host's sampler names the two widths."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestWideModel", WideModel)
    wide = {"wide": node("TestWideModel"), "latent": node("TestLatent", seed=1, **LATENT)}
    if nodes_of == "the pack":
        told = {"latent": ["latent", 0], "conditioning": ["said", 0], **INVERSION}
        graph = DEMO | wide | {"said": text(PROMPT), "it": node("MagicStyle_Invert", model=["wide", 0], **told)}
        graph["keep"] = keep(["it", 0], "it")
        message = "ValueError: The conditioning is 64 wide, this model needs 768. Use the CLIP of the same"
    else:
        graph = wide | sampled({"said": prompt("said", PROMPT)}, model=("wide", 0))
        message = r"RuntimeError: .*64.*768x"
    with pytest.raises(AssertionError, match=message):
        texts(graph)


def test_every_sampler_of_the_host_paints_a_prompt(texts):
    kept = {}
    for sampler in comfy.samplers.KSAMPLER_NAMES:
        (kept[sampler],) = texts(sampled({"said": prompt("said", PROMPT)}, size=32, steps=3, sampler=sampler)).values()
    assert [name for name, latent in kept.items() if not bool(latent["samples"].isfinite().all())] == []


@pytest.mark.parametrize("name", ["demo_text", "demo_style_reference"])
def test_its_workflows_run_and_their_prompts_are_read(texts, host, caplog, name):
    graph = json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8"))
    for picture in (ROOT / "assets").glob("*.jpg"):
        (host / "input" / picture.name).write_bytes(picture.read_bytes())
    (saver,) = (content for content in graph.values() if content["class_type"] == "SaveImage")
    (sampler,) = (content for content in graph.values() if content["class_type"] == "KSampler")
    images = {}
    for words in ("as it is", "no prompt"):
        if words == "no prompt":
            graph |= {"none": text("", sampler_clip(graph))}
            sampler["inputs"]["positive"] = ["none", 0]
        shrunk = {number: small(content) for number, content in graph.items() if content is not saver}
        with caplog.at_level(logging.WARNING):
            images[words] = texts(shrunk | {"keep": keep(saver["inputs"]["images"], "image")})["image"]
    assert "does not know" not in caplog.text
    assert images["as it is"].shape == (1, 64, 64, 3)
    assert float((images["as it is"] - images["no prompt"]).abs().mean()) > 0.01


def sampler_clip(graph):
    return next(content["inputs"]["clip"] for content in graph.values() if content["class_type"] == "CLIPTextEncode")


def small(content):
    changes = {"width": 64, "height": 64, "steps": 4}
    return content | {"inputs": {name: changes.get(name, value) for name, value in content["inputs"].items()}}
