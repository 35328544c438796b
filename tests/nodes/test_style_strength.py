"""One dial for the whole style: the portrait at 0, the settings at 1, and every patch in between."""

import pytest
import torch
from graphs import MATCHED, error_of, ffa, fff, full, keep

LOOK = {"color": "match", "texture": 0.75}
TO_ROUNDING = 1e-4


def dialed(value, ffa_changes=None, **csdi_changes):
    """The whole graph at defaults under a style strength."""
    fusion, look = {**MATCHED, **(ffa_changes or {})}, {**LOOK, "style_strength": value}
    return full(ffa_changes=fusion, fff_changes=look, **csdi_changes)


def test_at_zero_the_portrait_comes_back(run):
    kept = run(dialed(0.0))
    assert error_of(kept["result"], kept["content"]) < TO_ROUNDING


def test_at_one_the_dial_changes_nothing(run):
    graph = dialed(1.0)
    without = run(full(ffa_changes=MATCHED, fff_changes=LOOK))["result"]
    assert torch.equal(run(graph)["result"]["samples"], without["samples"])


@pytest.mark.parametrize(("value", "attention", "share"), [(0.5, 0.5, 0.5), (2.0, 1.5, 1.0), (1.5, 1.25, 1.0)])
def test_the_dial_is_what_three_settings_do_together(run, value, attention, share):
    graph = dialed(value) | {
        "apart": ffa(**MATCHED, strength=attention),
        "sampled": fff("apart", **{**LOOK, "color_strength": share, "texture": 0.75 * share}),
    }
    kept = run(graph | {"keep apart": keep(["sampled", 0], "apart")})
    assert error_of(kept["result"], kept["apart"]) < 1e-6


def test_every_patch_is_dialed_and_the_model_is_not(executor):
    """Two patches on one model, and the same model sampled again without the dial."""
    graph = dialed(0.0) | {"second": ffa("ffa"), "two": fff("second", **{**LOOK, "style_strength": 0.0})}
    graph |= {"keep two": keep(["two", 0], "two"), "again": fff("ffa", **LOOK)}
    graph["keep again"] = keep(["again", 0], "again")
    kept = executor.run(graph)
    assert error_of(kept["two"], kept["content"]) < TO_ROUNDING
    assert error_of(kept["again"], kept["content"]) > 0.05


@pytest.mark.parametrize("changes", [{"storage": "recompute"}, {"storage": "disk"}])
def test_at_zero_features_are_not_even_read(run, changes):
    kept = run(dialed(0.0, **changes))
    assert error_of(kept["result"], kept["content"]) < TO_ROUNDING


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_rows_and_guidance_under_the_dial(run, value):
    kept = run(dialed(value, {"rows": "positive"}))
    assert torch.isfinite(kept["result"]["samples"]).all()
