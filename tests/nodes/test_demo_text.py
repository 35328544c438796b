"""Prompts on the demo model: its CLIP in the host's own nodes, from words to latents."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
import torch
from companions import StandIn
from graphs import INVERSION, LATENT, error_of, keep, node
from in_process import Executor
from safetensors.torch import save_file
from thin_models import SD15, patcher_of

import comfy.samplers
import nodes
from demo.network import FOLDER
from demo.text.encoder import LAYERS, WIDTH
from demo.text.vocabulary import LENGTH
from demo.train.export import load_text

NEXT = FOLDER / "next.safetensors"
ROOT = FOLDER.parent
PROMPTS = ROOT / "tests" / "prompts"
DEMO = {"demo": node("MagicStyle_DemoModel")}
PROMPT = "photo of a woman with red hair, blue sweater, hills behind her"


@pytest.fixture(scope="module")
def texts(pack):
    """An executor whose demo model reads prompts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack("nodes.demo_model"), "WEIGHTS", NEXT)
        yield Executor("LRU").run


@pytest.fixture(scope="module")
def extras(host):
    """Nodes of the host that merge and extract."""
    for name in ("nodes_model_merging", "nodes_lora_extract"):
        path = Path(nodes.__file__).parent / "comfy_extras" / f"{name}.py"
        assert asyncio.run(nodes.load_custom_node(str(path), module_parent="comfy_extras"))


def text(prompt, clip=("demo", 2)):
    return node("CLIPTextEncode", clip=list(clip), text=prompt)


def encoded(texts, *prompts):
    """Contexts ``(1, tokens, 64)`` of prompts."""
    graph = dict(DEMO)
    for index, prompt in enumerate(prompts):
        graph |= {f"text {index}": text(prompt), f"keep {index}": keep([f"text {index}", 0], f"{index}")}
    kept = texts(graph)
    return [kept[f"{index}"][0][0] for index in range(len(prompts))]


def sampled(conditionings, cfg=3.0, size=64, batch=1, steps=2, sampler="euler", scheduler="normal", model=("demo", 0)):
    """KSampler from noise with each of the conditionings (a link, and nodes before it); keeps latents by name."""
    graph = {
        **DEMO,
        "negative": text("glasses"),
        "empty": node("EmptyLatentImage", width=size, height=size, batch_size=batch),
    }
    for name, (link, before) in conditionings.items():
        graph |= before | {
            f"sampled {name}": node(
                "KSampler", model=list(model), seed=5, steps=steps, cfg=cfg, sampler_name=sampler, scheduler=scheduler,
                positive=link, negative=["negative", 0], latent_image=["empty", 0], denoise=1.0,
            ),
            f"keep {name}": keep([f"sampled {name}", 0], name),
        }  # fmt: skip
    return graph


def prompt(name, words):
    return [name, 0], {name: text(words)}


def test_a_prompt_is_what_plain_torch_makes_of_it(texts):
    from demo.text.vocabulary import padded, tokenize

    (context,) = encoded(texts, PROMPT)
    tokens = torch.tensor([padded(tokenize(PROMPT)[0])])
    assert torch.allclose(context, load_text(NEXT)(tokens), atol=1e-5)
    assert context.shape == (1, LENGTH, WIDTH)


def test_the_order_of_words_matters(texts):
    one, other = encoded(texts, "red hair, blue clothes", "blue hair, red clothes")
    assert error_of({"samples": one}, {"samples": other}) > 0.1


@pytest.mark.parametrize("silent", ["", "   ", " , ", "a the", "()"])
def test_a_prompt_of_nothing_is_a_context_of_zeros(texts, silent):
    (context,) = encoded(texts, silent)
    assert context.shape == (1, LENGTH, WIDTH)
    assert not context.any()


def test_brackets_of_weight_one_change_nothing(texts):
    plain, weighted, escaped = encoded(
        texts,
        "red hair, blue sweater, hills",
        "(red hair:1.0), (blue sweater:1), hills",
        r"red hair\(, blue sweater, hills",
    )
    assert torch.equal(plain, weighted)
    assert torch.equal(plain, escaped)


def test_a_weight_multiplies_the_rows_of_its_words(texts):
    plain, weighted, nested, negative = encoded(
        texts, "red hair, blue sweater", "red hair, (blue sweater:1.5)", "red hair, ((blue sweater))",
        "red hair, (blue sweater:-2)",
    )  # fmt: skip
    for context, weight in ((weighted, 1.5), (nested, 1.1**2), (negative, -2.0)):
        assert torch.equal(context[:, :3], plain[:, :3])
        assert torch.allclose(context[:, 3:], plain[:, 3:] * weight)


def test_a_long_prompt_is_its_chunks_one_after_the_other(texts):
    first, second = "red hair " * (LENGTH // 2), "green hills " * 3
    long, *chunks = encoded(texts, first + second, first, second)
    assert torch.allclose(long, torch.cat(chunks, 1), atol=1e-5)


def test_last_layers_are_left_out_as_on_stable_diffusion(texts):
    graph = dict(DEMO)
    for layer in (-1, -2, -3, -12):
        graph |= {
            f"clip {layer}": node("CLIPSetLastLayer", clip=["demo", 2], stop_at_clip_layer=layer),
            f"text {layer}": text(PROMPT, (f"clip {layer}", 0)),
            f"keep {layer}": keep([f"text {layer}", 0], f"{layer}"),
        }
    kept = {int(layer): context[0][0] for layer, context in texts(graph).items()}
    (plain,) = encoded(texts, PROMPT)
    assert torch.equal(kept[-1], plain)
    assert torch.equal(kept[-12], plain)  # deeper than the encoder: the host reads all layers
    assert not any(torch.allclose(kept[layer], plain) for layer in (-2, -LAYERS))


def test_unknown_words_are_named_once_and_left_out(texts, caplog):
    with caplog.at_level(logging.WARNING):
        (context,) = encoded(texts, "red hair, zebra, \U0001f600 zebra \u732b, blue sweater")
    (said,) = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert said.count("zebra") == 1
    assert r"\U0001f600" in said
    assert r"\u732b" in said
    assert "left out" in said
    assert torch.equal(context, encoded(texts, "red hair, blue sweater")[0])


FOREIGN = ("\U0001f600\U0001f525", "\u4e00\u53ea\u732b", "\u0440\u044b\u0436\u0438\u0435", "\ud800", "\0\x1b[2J")


@pytest.mark.parametrize("foreign", FOREIGN, ids=ascii)
def test_a_prompt_without_a_known_word_is_an_empty_one_and_says_so(texts, caplog, foreign):
    with caplog.at_level(logging.WARNING):
        (context,) = encoded(texts, foreign)
    assert not context.any()
    said = caplog.text
    assert "nothing is left of the prompt" in said
    assert said.isprintable() or said.replace("\n", "").isprintable()


@pytest.mark.parametrize("weight", ["1e9", "nan", "inf", "-inf", "-1e9", "1e999"])
def test_weights_that_are_none_are_refused_in_words(texts, weight):
    with pytest.raises(AssertionError, match=r"ValueError: 'red hair' has the weight .* from -100 to 100"):
        encoded(texts, f"photo, (red hair:{weight})")


def test_brackets_without_end_are_refused_in_words(texts):
    with pytest.raises(AssertionError, match="ValueError: Too many brackets"):
        encoded(texts, "(" * 5000 + "red" + ")" * 5000)
    plain, unbalanced = encoded(texts, "red hair", "((((red hair")
    assert torch.equal(plain, unbalanced)


def test_a_prompt_of_ten_thousand_words_is_refused_in_words(texts):
    with pytest.raises(AssertionError, match="ValueError: The prompt has 90,000 characters; .* at most 20,000"):
        encoded(texts, "red hair " * 10_000)


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
    """A Stable Diffusion of the usual width of prompts; nothing gets as far as its weights."""

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


LORA = "demo_text.safetensors"


@pytest.fixture
def lora_file(host):
    """A random LoRA of the encoder's layers and of the UNet's cross-attention, by the host's generic names."""
    generator = torch.Generator().manual_seed(0)
    names = [
        *(
            f"text_encoders.demo.transformer.layers.{i}.{part}"
            for i in range(LAYERS)
            for part in ("to_qkv", "up", "down")
        ),
        "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v",
    ]
    tensors = {}
    for name in names:
        down, up = {"up": (64, 256), "down": (256, 64), "to_qkv": (64, 192), "to_v": (64, 128)}[name.split(".")[-1]]
        tensors[f"{name}.lora_down.weight"] = 0.2 * torch.randn(2, down, generator=generator)
        tensors[f"{name}.lora_up.weight"] = 0.2 * torch.randn(up, 2, generator=generator)
    save_file(tensors, host / "models" / "loras" / LORA)
    yield names
    (host / "models" / "loras" / LORA).unlink()


def loras(graph, link=("lora", 1), **strengths):
    """The prompt with and without a LoRA."""
    strengths = {"strength_model": 1.0, "strength_clip": 1.0, **strengths}
    return graph | {
        "lora": node("LoraLoader", model=["demo", 0], clip=["demo", 2], lora_name=LORA, **strengths),
        "plain": text(PROMPT),
        "patched": text(PROMPT, link),
        "keep plain": keep(["plain", 0], "plain"),
        "keep patched": keep(["patched", 0], "patched"),
    }


def test_loras_load_on_model_and_clip(texts, lora_file, caplog):
    with caplog.at_level(logging.WARNING):
        kept = texts(loras(DEMO))
    assert "lora key not loaded" not in caplog.text
    plain, patched = kept["plain"][0][0], kept["patched"][0][0]
    assert not torch.allclose(plain, patched)
    without = texts(loras(DEMO, strength_clip=0.0))["patched"][0][0]
    assert torch.equal(without, plain)
    said = prompt("said", PROMPT)
    bare, fused = (
        texts(sampled({"said": said}, model=model) | {"lora": loras({})["lora"]})["said"]
        for model in (("demo", 0), ("lora", 0))
    )
    assert error_of(fused, bare) > 1e-4


def test_a_lora_that_the_host_extracts_of_the_clip_loads_as_the_same(texts, lora_file, host, extras):
    """The difference of the patched encoder and the plain one, saved by the host: it gives the patched one again."""
    graph = loras(DEMO)
    graph |= {
        "difference": node("CLIPMergeSubtract", clip1=["lora", 1], clip2=["demo", 2], multiplier=1.0),
        "save": node(
            "LoraSave", filename_prefix="extracted", rank=4, lora_type="full_diff", bias_diff=True,
            text_encoder_diff=["difference", 0],
        ),
    }  # fmt: skip
    kept = texts(graph)
    plain, patched = ({"samples": kept[name][0][0]} for name in ("plain", "patched"))
    (file,) = (host / "output").glob("extracted*.safetensors")
    file.rename(host / "models" / "loras" / LORA)
    again = {"samples": Executor().run(loras(DEMO))["patched"][0][0]}
    assert error_of(again, patched) < 2e-4  # measured 2.5e-5: the file is in fp16
    assert error_of(plain, patched) > 0.05


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
