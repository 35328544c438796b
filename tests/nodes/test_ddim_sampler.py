"""DDIM Sampler in the host's own sampling nodes: what Fused Sampler does, dial by dial."""

import pytest
import torch
from graphs import MATCHED, csdi, custom, ddim, error_of, ffa, full, keep, latent, node

import nodes

EXACT = 1e-6
OWN = {"color": "match", "texture": 0.75}


def stock(fff_changes, sampler=None, method=MATCHED, **changes):
    """Fused Sampler ("result") and SamplerCustom with DDIM Sampler ("custom") of the same dials."""
    return full(method, fff_changes) | custom(sampler or ddim(**fff_changes), **changes)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("look", [OWN, {"look": "as the method"}], ids=["own", "the method's"])
def test_style_strength_is_that_of_fused_sampler(run, look, strength):
    kept = run(stock({**look, "style_strength": strength}))
    assert error_of(kept["custom"], kept["result"]) < EXACT


def test_style_strength_acts_alone_on_the_run_that_has_it(executor):
    """Two samplers on one model: one run's dial is not the other's."""
    graph = stock({**OWN, "style_strength": 0.0}) | {"sampler too": ddim(**OWN)}
    graph["after"] = {**graph["custom"], "inputs": {**graph["custom"]["inputs"], "sampler": ["sampler too", 0]}}
    graph["after"]["inputs"]["latent_image"] = ["custom noise", 0]
    graph["custom noise"] = node("RepeatLatentBatch", samples=["csdi", 2], amount=1)
    kept = executor.run(graph | {"keep after": keep(["after", 0], "after")})
    assert error_of(kept["custom"], kept["content"]) < 1e-4
    assert error_of(kept["after"], kept["content"]) > 0.02


@pytest.mark.parametrize("start", [1, 3])
def test_start_step_begins_at_the_contents_own_latent(run, start):
    """Whatever latent comes in, of one picture or of three."""
    graph = stock({**OWN, "start_step": start}, latent=("noise", 0)) | {"noise": latent(77, batch=3)}
    kept = run(graph)
    assert kept["custom"]["samples"].shape[0] == 3
    for one in kept["custom"]["samples"].split(1):
        assert error_of({"samples": one}, kept["result"]) < EXACT


def test_a_method_that_starts_late_begins_there_too(run):
    zepo = {"method": "ZePo", "mix": 1.0, "style_scale": 1.2}
    graph = stock({"look": "as the method"}, method=zepo, latent=("noise", 0)) | {"noise": latent(77)}
    kept = run(graph)
    assert error_of(kept["custom"], kept["result"]) < EXACT


@pytest.mark.parametrize(
    ("look", "method", "message"),
    [
        ({"start_step": 1}, MATCHED, r"start_step is 1, which needs the portrait's bank\. Connect content_bank, or"),
        ({"look": "as the method"}, {"method": "ZePo", "mix": 1.0, "style_scale": 1.2},
         r"Leaving out the first steps needs the portrait's bank\. Connect content_bank"),
        ({"start_step": 4}, MATCHED, r"start_step is 4, but the bank has 4 steps\. Set it to 3 or less"),
    ],
)  # fmt: skip
def test_a_late_start_needs_the_contents_bank_and_a_step_to_start_at(run, look, method, message):
    with pytest.raises(AssertionError, match=message):
        run(stock({}, ddim(content=look.get("start_step") == 4, **look), method))


class OnTheWay:
    """The latent of a bank's trajectory after some steps of sampling, as a sampler before would leave it."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",), "bank": ("MAGICSTYLE_BANK",), "step": ("INT", {"default": 0})}}

    def run(self, model, bank, step):
        return ({"samples": model.model.process_latent_out(bank.trajectory.latents[-1 - step])},)


@pytest.mark.parametrize(("split", "start", "left"), [(1, 2, 2), (2, 2, 2), (3, 2, 3), (1, 0, 1)])
def test_on_a_part_of_the_schedule_no_more_is_left_out_than_both_say(run, monkeypatch, split, start, left):
    """What is left out already counts; from the portrait's own latent there it is Fused Sampler's late start."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestOnTheWay", OnTheWay)
    graph = stock({**OWN, "start_step": left}, ddim(**OWN, start_step=start), latent=("there", 0)) | {
        "parts": node("SplitSigmas", sigmas=["sigmas", 0], step=split),
        "there": node("TestOnTheWay", model=["model", 0], bank=["csdi", 0], step=split),
    }
    graph["custom"]["inputs"]["sigmas"] = ["parts", 1]
    kept = run(graph)
    assert error_of(kept["custom"], kept["result"]) < EXACT


def test_without_banks_it_is_plain_ddim(run):
    graph = csdi() | {"ffa": ffa(**MATCHED)} | custom(ddim(False, False, **OWN))
    graph["euler"] = node("KSamplerSelect", sampler_name="euler")
    graph["other"] = {**graph["custom"], "inputs": {**graph["custom"]["inputs"], "sampler": ["euler", 0]}}
    kept = run(graph | {"keep other": keep(["other", 0], "other")})
    assert torch.isfinite(kept["custom"]["samples"]).all()
    assert error_of(kept["custom"], kept["other"]) < 1e-5
