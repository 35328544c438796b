"""The demo model's CLIP: what the host's nodes make of words, weights and LoRAs."""

import asyncio
import logging
from pathlib import Path

import pytest
import torch
from demo_prompts import DEMO, PROMPT, encoded, prompt, sampled, text
from graphs import error_of, keep, node
from in_process import Executor
from safetensors.torch import save_file

import nodes
from demo.text.encoder import LAYERS, WIDTH
from demo.text.vocabulary import LENGTH, padded, tokenize
from demo.train.export import load_text


def test_a_prompt_is_what_plain_torch_makes_of_it(texts, pack):
    (context,) = encoded(texts, PROMPT)
    tokens = torch.tensor([padded(tokenize(PROMPT)[0])])
    assert torch.allclose(context, load_text(pack("nodes.demo_model").WEIGHTS)(tokens), atol=1e-5)
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


LORA = "demo_text.safetensors"


@pytest.fixture(scope="module")
def extras(host):
    """Nodes of the host that merge and extract."""
    for name in ("nodes_model_merging", "nodes_lora_extract"):
        path = Path(nodes.__file__).parent / "comfy_extras" / f"{name}.py"
        assert asyncio.run(nodes.load_custom_node(str(path), module_parent="comfy_extras"))


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


def test_a_lora_through_hooks_of_the_clip_is_the_same_one(texts, lora_file):
    hooked = {
        "hook": node("CreateHookLora", lora_name=LORA, strength_model=1.0, strength_clip=1.0),
        "hooked": node("SetClipHooks", clip=["demo", 2], hooks=["hook", 0], apply_to_conds=True, schedule_clip=True),
    }
    through = texts(loras(DEMO, ("hooked", 0)) | hooked)["patched"][0][0]
    loaded = texts(loras(DEMO))["patched"][0][0]
    assert torch.allclose(through, loaded, atol=1e-6)


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
