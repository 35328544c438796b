"""The pack's nodes among others: stock samplers, checkpoints, split rows, and two patches in a chain."""

import pytest
import torch
from companions import record
from graphs import MATCHED, custom, ddim, error_of, ffa, fff, full, keep, model, node
from in_process import Executor
from thin_models import build

import comfy.model_management

EXACT = 1e-4


def test_our_parts_in_the_stock_sampler_give_the_fused_sampler(run):
    kept = run(full() | custom(ddim()))
    assert error_of(kept["custom"], kept["result"]) < EXACT


def test_euler_without_detail_and_colour_is_the_fused_sampler(run):
    kept = run(
        full(fff_changes={"detail": 0.0, "color": "none"}) | custom(node("KSamplerSelect", sampler_name="euler"))
    )
    assert error_of(kept["custom"], kept["result"]) < EXACT


def test_advanced_sampler_with_our_parts(run):
    graph = full() | custom(ddim()) | {
        "quiet": node("DisableNoise"),
        "guider": node("BasicGuider", model=["ffa", 0], conditioning=["zero", 0]),
        "custom": node(
            "SamplerCustomAdvanced", noise=["quiet", 0], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["sigmas", 0], latent_image=["csdi", 2],
        ),
    }  # fmt: skip
    kept = run(graph)
    assert error_of(kept["custom"], kept["result"]) < EXACT


def test_another_checkpoint_of_the_same_kind_is_told_apart(run):
    graph = full() | {"other": model(seed=5)}
    graph["ffa"]["inputs"]["model"] = ["other", 0]
    with pytest.raises(AssertionError, match=r"content bank was captured on .* weights .* this model is .* weights"):
        run(graph)


def test_what_is_patched_onto_a_model_does_not_change_who_it_is(pack):
    """The fingerprint is that of the weights as loaded: with a LoRA or a merge, before, during and after its use."""
    fingerprint, plain = pack("nodes.host.fingerprint").fingerprint, build()
    merged = plain.clone()
    changes = {key: ("diff", (torch.ones_like(value),)) for key, value in plain.model_state_dict().items()}
    assert set(merged.add_patches(changes, 0.5)) == set(changes)
    before = fingerprint(plain)
    assert fingerprint(merged) == before
    comfy.model_management.load_models_gpu([merged])
    assert fingerprint(merged) == before == fingerprint(plain)
    assert fingerprint(build(seed=5)) != before


def prompted(tokens, rows, cfg=4.0, **ffa_changes):
    graph = full(ffa_changes={"rows": rows, **ffa_changes}, fff_changes={"cfg": cfg}) | {
        "long": node("TestPrompt", seed=5, tokens=tokens, width=64),
        "short": node("TestPrompt", seed=6, tokens=77, width=64),
    }
    graph["fff"]["inputs"] |= {"positive": ["long", 0], "negative": ["short", 0]}
    return graph


@pytest.mark.parametrize("rows", ["all", "positive"])
@pytest.mark.parametrize("fusion", [{}, MATCHED], ids=["stored", "matched"])
def test_rows_may_come_together_or_apart(run, rows, fusion, monkeypatch):
    """With little memory the host evaluates positive and negative one after the other."""
    together = run(prompted(77, rows, **fusion))["result"]

    def little(device=None, torch_free_too=False):
        return (1, 1) if torch_free_too else 1

    monkeypatch.setattr(comfy.model_management, "get_free_memory", little)
    graph = prompted(77, rows, **fusion)
    graph["csdi"]["inputs"]["storage"] = "disk"  # with no memory at all
    apart = Executor().run(graph)["result"]
    assert error_of(apart, together) < EXACT
    if rows == "positive" and not fusion:
        measured = f"{error_of(apart, together):.0e} from both in one evaluation"
        record("Nodes", "little memory: positive and negative one after the other", "beside", "both act", measured)


@pytest.mark.parametrize("rows", ["all", "positive"])
def test_matched_and_stored_queries_differ_under_guidance(run, rows):
    matched = run(prompted(77, rows, 2.0, **MATCHED))["result"]
    stored = run(prompted(77, rows, 2.0, **{**MATCHED, "queries": "stored"}))["result"]
    assert torch.isfinite(matched["samples"]).all()
    assert 1e-3 < error_of(matched, stored) < 2  # measured 8e-3 and 1.4e-2


def test_prompts_of_different_length(run):
    kept = run(prompted(385, "positive"))
    assert error_of(kept["result"], kept["plain"]) > 0.01


def test_positive_rows_only_differ_from_all_rows(run):
    assert error_of(run(prompted(77, "positive"))["result"], run(prompted(77, "all"))["result"]) > 1e-3


def test_two_patches_in_a_chain_share_the_picture(run):
    """Two patches of half strength: a quarter is left unpatched, and both styles act."""
    half = full(ffa_changes={"strength": 0.5})
    half |= {"second": ffa("ffa", strength=0.5), "two": fff("second"), "keep two": keep(["two", 0], "two")}
    kept = run(half)
    whole = run(full())["result"]
    three_quarters = run(full(ffa_changes={"strength": 0.75}))["result"]
    assert error_of(kept["two"], three_quarters) < EXACT
    assert error_of(kept["two"], whole) > 1e-4
    difference = error_of(kept["two"], three_quarters)
    record("Nodes", "a second FFA Attention Patch", "after", "both act", f"{difference:.0e} from one as strong as both")
