"""Law 10: after a run, an error or a cancel, the input MODEL samples exactly as before; inputs never change."""

import pytest
import torch
from graphs import FFA, FFF, INVERSION, csdi, error_of, ffa, fff, full, keep, node
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
    """Run a node as the executor would, outside of it: dials of a choice come inside of it."""
    for chosen in {name.partition(".")[0] for name in inputs if "." in name}:
        dials = [dial for dial in inputs if dial.startswith(f"{chosen}.")]
        inputs[chosen] = {chosen: inputs[chosen], **{dial.partition(".")[2]: inputs.pop(dial) for dial in dials}}
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
    plain = call("MagicStyle_FusedSampler", model=model, content_bank=content, **FFF)[0]["samples"]
    keys, latents_before = repr(content), content.trajectory.latents.clone()
    (patched,) = call("MagicStyle_FFA", model=model, content_bank=content, style_bank=style, **FFA)
    patched_state = state(patched)
    call("MagicStyle_FusedSampler", model=patched, content_bank=content, style_bank=style, **FFF)
    assert state(model) == before
    assert state(patched) == patched_state
    assert repr(content) == keys
    assert torch.equal(content.trajectory.latents, latents_before)
    assert all(torch.equal(latent["samples"], copy) for latent, copy in zip(latents, copies, strict=True))
    again = call("MagicStyle_FusedSampler", model=model, content_bank=content, **FFF)[0]["samples"]
    assert torch.equal(again, plain)


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


class Momentum:
    """A node that adds a part of the last step's estimate to this one's and keeps it where nodes keep such things:
    among the options of the run, beside FFA's and inside of the transformer's."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"
    seen = None  # of the test that runs: how many steps each place has known

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",)}}

    def run(self, model):
        model = model.clone()

        def guide(args):
            options = args["model_options"]
            places = (options, options["transformer_options"])
            guided = args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"])
            for place in places:
                guided = guided + 0.2 * (place["test_momentum"][-1] if "test_momentum" in place else 0)
            for place in places:
                place.setdefault("test_momentum", []).append(guided)
            self.seen.append([len(place["test_momentum"]) for place in places])
            return guided

        model.set_model_sampler_cfg_function(guide)
        return (model,)


@pytest.mark.parametrize("before", [True, False], ids=["before FFA", "after FFA"])
def test_what_another_node_keeps_from_step_to_step_stays(executor, monkeypatch, before):
    """With our patch as without it: of strength 0 it changes no bit of such a run, and the next run begins anew."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestMomentum", Momentum)
    monkeypatch.setattr(Momentum, "seen", [])
    graph = csdi() | {"text": node("TestPrompt", seed=1, tokens=77, width=64)}
    for name, strength in (("off", 0.0), ("on", 1.0)):
        first, last = (node("TestMomentum", model=["model", 0]), ffa(name, strength=strength))
        if not before:
            first, last = ffa(strength=strength), node("TestMomentum", model=[name, 0])
        graph |= {
            name: first,
            f"{name} too": last,
            f"{name} sampled": fff(f"{name} too", cfg=2.0, positive=["text", 0]),
        }
    graph |= {"alone": node("TestMomentum", model=["model", 0]), "bare": fff("model", cfg=2.0, positive=["text", 0])}
    graph |= {"alone sampled": fff("alone", cfg=2.0, positive=["text", 0])}
    kept = executor.run(
        graph
        | {f"keep {name}": keep([name, 0], name) for name in ("off sampled", "on sampled", "alone sampled", "bare")}
    )
    assert torch.equal(kept["off sampled"]["samples"], kept["alone sampled"]["samples"])
    assert error_of(kept["alone sampled"], kept["bare"]) > 0.1  # momentum acts
    assert error_of(kept["on sampled"], kept["alone sampled"]) > 1e-3  # and FFA
    assert sorted(Momentum.seen) == sorted(3 * [[step, step] for step in range(1, 5)])


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
    with pytest.raises(ValueError, match="NaN or infinite values at sigma"):
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
