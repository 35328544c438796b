"""Checkpoints as people have them: quantized, in another precision, merged, under LoRAs; and what banks say of them."""

import logging

import pytest
import torch
from graphs import error_of, full, node
from quantized import FLAGS, HOSTS, quantized
from thin_models import build

import comfy.model_management
import nodes
from comfy.weight_adapter.lora import LoRAAdapter
from comfy_extras.nodes_model_merging import ModelMergeSimple

KEPT = [*HOSTS, "mixed", "GGUF", *FLAGS]


@pytest.fixture
def check(pack):
    """``check(model, bank)`` as the nodes do."""
    fingerprint = pack("nodes.host.fingerprint")

    class Bank:
        def __init__(self, model):
            self.model = fingerprint.fingerprint(model)

    def check(model, captured):
        fingerprint.check_model(model, {"style": Bank(captured)})

    return check


def said(caplog):
    return [record for record in caplog.records if "LoRAs or merges on the model are others" in record.getMessage()]


def loader(monkeypatch, made):
    class Loader:
        RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"

        @classmethod
        def INPUT_TYPES(cls):  # noqa: N802
            return {"required": {}}

        def run(self):
            return (made(),)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestLoader", Loader)
    return node("TestLoader")


@pytest.mark.parametrize("kept", KEPT)
def test_a_portrait_comes_back_and_is_styled(run, executor, kept, monkeypatch):
    result = executor.run(full(loader=loader(monkeypatch, lambda: quantized(kept))))
    # The host's int8 rounds what it reads too, by the largest number of the whole batch.
    assert error_of(result["plain"], result["content"]) < (5e-3 if kept in ("int8", "mixed") else 1e-4)
    assert error_of(result["result"], result["plain"]) > 1e-3
    monkeypatch.undo()
    plain = run(full())
    away = {"--fp16-unet": 0.01, "GGUF": 0.01, "int8": 0.03, "--bf16-unet": 0.03}.get(kept, 0.15)
    assert 0 < error_of(result["result"], plain["result"]) < away


@pytest.mark.parametrize("kept", KEPT)
def test_precisions_and_weights_are_told_apart(check, kept):
    check(quantized(kept), quantized(kept))
    with pytest.raises(ValueError, match="These are other weights"):
        check(quantized(kept), quantized(kept, seed=5))
    with pytest.raises(ValueError, match="This is another precision"):
        check(quantized(kept), build())
    with pytest.raises(ValueError, match=r"style bank was captured on .*, as .* this model is .*, as float32"):
        check(build(), quantized(kept))


def lora(model, seed=0):
    """A LoRA on the whole network, as the host's loader puts it there."""
    generator = torch.Generator().manual_seed(seed)
    patched = model.clone()
    changes = {}
    for name, weight in model.model.named_parameters():
        if name.endswith("to_q.weight"):
            rows, columns = weight.shape
            up = torch.randn(rows, 2, generator=generator)
            down = torch.randn(2, columns, generator=generator)
            changes[name] = LoRAAdapter(set(), (up, down, 2.0, None, None, None))
    assert changes
    patched.add_patches(changes, 0.1)
    return patched


def merged(model):
    return ModelMergeSimple().merge(model, build(seed=5), 0.7)[0]


@pytest.mark.parametrize("patch", [lora, merged])
def test_patched_since_is_a_word_and_no_refusal(check, patch, caplog):
    plain = build()
    caplog.set_level(logging.INFO)
    for now, then in ((patch(plain), plain), (plain, patch(plain))):
        caplog.clear()
        check(now, then)
        assert len(said(caplog)) == 1
    caplog.clear()
    check(patch(plain), patch(build()))  # the same again, on the same checkpoint loaded again
    assert not said(caplog)


def test_other_patches_are_told_apart(check, caplog):
    caplog.set_level(logging.INFO)
    check(lora(build()), lora(build(), seed=1))
    assert len(said(caplog)) == 1


def test_patches_are_the_same_while_they_are_applied(pack):
    fingerprint = pack("nodes.host.fingerprint").fingerprint
    for made in (lambda: lora(build()), lambda: lora(quantized("scaled fp8")), lambda: merged(build())):
        patched = made()
        before = fingerprint(patched)
        comfy.model_management.load_models_gpu([patched])
        applied = fingerprint(patched)
        assert (applied, applied.patches, applied.precision) == (before, before.patches, before.precision)


def test_a_lora_between_inversion_and_sampling_acts(run, executor, monkeypatch):
    graph = full() | {"lora": loader(monkeypatch, lambda: lora(build()))}
    graph["ffa"]["inputs"]["model"] = ["lora", 0]
    assert error_of(executor.run(graph)["result"], run(full())["result"]) > 1e-3


def test_fingerprints_of_plain_checkpoints_are_those_of_the_first_version(pack):
    for layout, weights in (("SD15", "e1ed130da12e"), ("SDXL", "ff505fa64f7b")):
        found = pack("nodes.host.fingerprint").fingerprint(build(layout))
        assert (found.weights, found.precision, found.patches) == (weights, "float32", "")
