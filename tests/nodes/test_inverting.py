"""Other nodes on the model while it inverts: without effect, with it, or refused; never features that are none."""

import pytest
from companions import patch, record
from graphs import csdi, error_of, keep
from test_companions import EIGHT_STEPS, HYPERTILE, ON_BOTH, SKIPPING, TOME, on_both


def inverted(companion=None, **changes):
    """The portrait's noise, with a companion on the model that inverts."""
    graph = csdi(**changes) | {"keep": keep(["csdi", 2], "noise")}
    if companion is not None:
        graph["companion"] = companion(["model", 0])
        graph["csdi"]["inputs"]["model"] = ["companion", 0]
    return graph


@pytest.mark.parametrize(
    "guidance",
    [
        patch("PerturbedAttentionGuidance", scale=3.0),
        patch("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
        patch("RescaleCFG", multiplier=0.7),
    ],
    ids=["PAG", "SAG", "RescaleCFG"],
)
def test_inversion_ignores_guidance(run, guidance):
    bare = run(inverted())["noise"]
    assert error_of(run(inverted(guidance))["noise"], bare) < 1e-6  # SAG's own attention rounds otherwise


@pytest.mark.parametrize(("name", "companion"), [("HyperTile", HYPERTILE), ("ToMe", TOME)])
def test_inversion_refuses_merged_and_tiled_tokens(run, name, companion):
    message = "another node merges or tiles tokens"
    with pytest.raises(AssertionError, match=message):
        run(inverted(companion))
    record("Nodes", name, "inverting", "refused", f'"{message}"')


@pytest.mark.parametrize("storage", ["cpu", "disk", "recompute"])
def test_inversion_refuses_to_leave_out_evaluations(run, storage):
    message = "leaves out evaluations"
    with pytest.raises(AssertionError, match=message):
        run(inverted(patch("EasyCache", **SKIPPING), **EIGHT_STEPS, storage=storage))
    record("Nodes", f"EasyCache, storage {storage}", "inverting", "refused", f'"{message}"')


@pytest.mark.parametrize("storage", ["cpu", "recompute", "disk"])
def test_another_resolution_of_the_network(run, storage):
    """Deep Shrink: its features fit where room is made as they come, not in a file laid out before."""
    name, kind, inputs = ON_BOTH[2]
    graph = on_both(kind, **inputs)
    graph["csdi"]["inputs"]["storage"] = storage
    if storage == "disk":
        message = "changes the network's resolution"
        with pytest.raises(AssertionError, match=message):
            run(graph)
        record("Nodes", f"{name}, storage disk", "inverting and sampling", "refused", f'"{message}"')
        return
    kept = run(graph)
    assert error_of(kept["plain"], kept["content"]) < 1e-4
    assert error_of(kept["result"], kept["plain"]) > 1e-2
