"""Law 10: after a run, an error or a cancel, the input MODEL samples exactly as before; inputs never change."""

import pytest
import torch
from graphs import FFA, INVERSION, csdi, ffa, fff, full, keep
from in_process import Executor, Interrupter
from thin_models import build

import comfy.model_base
import comfy.utils
import nodes


def state(model):
    """Everything that a node could leave on a model."""
    options = model.model_options
    return (
        sorted(options), sorted(options["transformer_options"]),
        {key: len(value) for key, value in options["transformer_options"].get("patches", {}).items()},
        sum(len(list_) for kind in model.wrappers.values() for list_ in kind.values()),
        {key: float(weight.sum()) for key, weight in model.model_state_dict().items()},
    )  # fmt: skip


def call(name, **inputs):
    """Run a node as the executor would, outside of it."""
    with torch.inference_mode():
        return nodes.NODE_CLASS_MAPPINGS[name].execute(**inputs).args


@pytest.fixture
def model():
    return build()


@pytest.fixture
def latents():
    return [{"samples": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))} for seed in (1, 2)]


def test_a_run_leaves_nothing(model, latents):
    before, copies = state(model), [latent["samples"].clone() for latent in latents]
    content, style, _ = call("MagicStyle_CSDI", model=model, content=latents[0], style=latents[1], **INVERSION)
    plain = call("MagicStyle_FusedSampler", model=model, content_bank=content, **look())[0]["samples"]
    keys, latents_before = repr(content), content.trajectory.latents.clone()
    (patched,) = call("MagicStyle_FFA", model=model, content_bank=content, style_bank=style, **FFA)
    patched_state = state(patched)
    call("MagicStyle_FusedSampler", model=patched, content_bank=content, style_bank=style, **look())
    assert state(model) == before
    assert state(patched) == patched_state
    assert repr(content) == keys
    assert torch.equal(content.trajectory.latents, latents_before)
    assert all(torch.equal(latent["samples"], copy) for latent, copy in zip(latents, copies, strict=True))
    again = call("MagicStyle_FusedSampler", model=model, content_bank=content, **look())[0]["samples"]
    assert torch.equal(again, plain)


def look():
    return {"cfg": 1.0, "detail": 1.0, "color": "adain", "color_strength": 1.0, "texture": 0.0, "start_step": 0}


def test_a_noise_mask_is_not_used_and_not_lost(model, latents):
    masked = {**latents[0], "noise_mask": torch.zeros(1, 16, 16), "batch_index": [7]}
    _, noise = call("MagicStyle_Invert", model=model, latent=masked, **INVERSION)
    _, bare = call("MagicStyle_Invert", model=model, latent=latents[0], **INVERSION)
    assert torch.equal(noise["samples"], bare["samples"])
    assert "noise_mask" in masked
    assert "noise_mask" not in noise
    assert noise["batch_index"] == [7]


@pytest.mark.parametrize("evaluations", [3, 7], ids=["inversion", "sampling"])
def test_a_cancelled_run_leaves_nothing_and_the_next_one_works(executor, monkeypatch, evaluations):
    """Inversion takes five evaluations here, so the seventh is in sampling."""
    graph = csdi() | {"ffa": ffa(), "fff": fff("ffa"), "keep": keep(["fff", 0], "result")}
    whole = executor.run(graph)["result"]["samples"]
    fresh = Executor()
    with monkeypatch.context() as patch:
        Interrupter(patch, comfy.model_base.BaseModel, evaluations)
        with pytest.raises(AssertionError, match="interrupted"):
            fresh.run(graph)
    assert torch.equal(fresh.run(graph)["result"]["samples"], whole)


def test_a_failing_network_leaves_nothing(model, latents, monkeypatch):
    before = state(model)
    with monkeypatch.context() as patch:
        patch.setattr(type(model.model), "apply_model", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call("MagicStyle_Invert", model=model, latent=latents[0], **INVERSION)
    assert state(model) == before
    call("MagicStyle_Invert", model=model, latent=latents[0], **INVERSION)


def test_nan_from_the_network_is_an_error_and_no_bank(model, latents, monkeypatch):
    original = type(model.model).apply_model
    monkeypatch.setattr(type(model.model), "apply_model", lambda *args, **kw: original(*args, **kw) * float("nan"))
    with pytest.raises(ValueError, match="ended in NaN"):
        call("MagicStyle_Invert", model=model, latent=latents[0], **INVERSION)


def test_two_runs_in_one_process_are_equal_bit_by_bit(host):
    first, second = (Executor().run(full())["result"]["samples"] for _ in range(2))
    assert torch.equal(first, second)


def test_both_phases_report_progress_from_the_first_step_to_the_last(executor, monkeypatch):
    """The host thins reports out in between."""
    reported = []
    hook = lambda value, total, preview, node_id=None: reported.append((value, total))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    executor.run(csdi() | {"fff": fff("model"), "keep": keep(["fff", 0], "x")})
    assert [entry for entry in reported if entry[0] in (1, 4)] == 2 * [(1, 4), (4, 4)]
