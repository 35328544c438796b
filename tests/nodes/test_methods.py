"""Fusion Rule: every method through the executor, next to the settings of FFA that are the same thing."""

import inspect

import pytest
import torch
from graphs import MATCHED, error_of, ffa, fff, full, keep, node

EXACT = 1e-5


def ruled(preset, ffa_changes=None, with_start=False, **dials):
    """The whole graph with a rule on FFA, and on the sampler too if its ``with_start`` is asked for; keeps "ruled"."""
    graph = full() | {
        "rule": node("MagicStyle_FusionRule", preset=preset, **{f"preset.{name}": v for name, v in dials.items()}),
        "by rule": ffa(rule=["rule", 0], **(ffa_changes or {})),
        "sampled": fff("by rule", **({"rule": ["rule", 0]} if with_start else {})),
    }
    return graph | {"keep ruled": keep(["sampled", 0], "ruled")}


@pytest.fixture
def methods(pack):
    return pack("magicstyle_core.methods").METHODS


def test_the_node_offers_every_method_at_its_published_values(pack, methods):
    schema = pack("nodes.rules").FusionRule.define_schema()
    (preset,) = schema.inputs
    offered = {option.key: {dial.id: dial.default for dial in option.inputs} for option in preset.options}
    custom = offered.pop("Custom")
    assert set(custom) == {"beta", "keys", "queries", "temperature", "style_scale", "style_weight"}
    assert offered == {
        name: {dial: p.default for dial, p in inspect.signature(make).parameters.items()}
        for name, make in methods.items()
    }
    dials = [dial for option in preset.options for dial in option.inputs]
    assert [dial.id for dial in dials if not dial.tooltip] == []
    assert [dial.id for dial in dials if hasattr(dial, "min") and not dial.min <= dial.default <= dial.max] == []


@pytest.mark.parametrize("name", [
    "MagicStyle", "MagicStyle, as published", "MagicStyle, joined keys", "MagicStyle, sum of attentions", "StyleID",
    "PortraitDiffusion", "MasaCtrl", "Visual Style Prompting", "Cross-image attention", "ZePo", "StyleAligned",
    "DiffStyler", "Custom",
])  # fmt: skip
def test_every_method_runs_and_changes_the_picture(run, methods, name):
    dials = {} if name == "Custom" else inspect.signature(methods[name]).parameters
    values = {dial: parameter.default for dial, parameter in dials.items()}
    if name == "Custom":
        values = {"beta": 0.4, "keys": "live+style", "queries": "matched", "temperature": 1.2}
        values |= {"style_scale": 0.8, "style_weight": 3.0}
    kept = run(ruled(name, with_start=True, **values))
    assert torch.isfinite(kept["ruled"]["samples"]).all()
    assert error_of(kept["ruled"], kept["plain"]) > 1e-3
    assert error_of(kept["ruled"], kept["result"]) > 1e-4  # and differs from FFA as it is


@pytest.mark.parametrize(
    ("preset", "dials", "settings"),
    [
        ("MagicStyle", {"beta": 0.4, "temperature": 1.0}, MATCHED),
        ("MagicStyle, as published", {"beta": 0.2}, {}),
        ("MagicStyle, as published", {"beta": 0.5}, {"alpha": 0.5, "beta": 0.5}),
        ("StyleID", {"gamma": 0.75, "temperature": 1.5},
         {"alpha": 0.75, "beta": 0.25, "queries": "live", "temperature": 1.5, "layers": "high-res decoder"}),
        ("MasaCtrl", {"start": 0.0},
         {"alpha": 0.0, "beta": 1.0, "queries": "live", "layers": "high-res decoder"}),
        ("Visual Style Prompting", {}, {"alpha": 0.0, "beta": 1.0, "queries": "live", "layers": "decoder"}),
        ("Custom", {"beta": 0.2, "keys": "content+style", "queries": "stored", "temperature": 1.0, "style_scale": 1.0,
                    "style_weight": 1.0}, {"keys": "content+style"}),
    ],
)  # fmt: skip
def test_a_method_that_is_a_setting_of_ffa_gives_its_picture(run, preset, dials, settings):
    graph = ruled(preset, **dials)
    graph["ffa"] = ffa(**settings)
    kept = run(graph)
    assert error_of(kept["ruled"], kept["result"]) < EXACT


def test_the_settings_of_ffa_that_a_rule_replaces_have_no_effect(run):
    one, other = (
        run(ruled("StyleID", changes, gamma=0.75, temperature=1.5))["ruled"]["samples"]
        for changes in ({}, {"alpha": 0.1, "beta": 0.9, "keys": "content", "queries": "live", "temperature": 3.0})
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("changes", [{"strength": 0.5}, {"layers": "output.5"}, {"end_percent": 0.5}])
def test_the_other_settings_of_ffa_act_on_a_rule(run, changes):
    whole, part = (run(ruled("StyleID", c, gamma=0.75, temperature=1.5)) for c in ({}, changes))
    assert error_of(part["ruled"], whole["ruled"]) > 1e-4
    assert error_of(part["ruled"], whole["plain"]) > 1e-4


def test_strength_zero_is_no_rule(run):
    kept = run(ruled("Cross-image attention", {"strength": 0.0}, contrast=1.67) | {
        "bare": fff("model"), "keep bare": keep(["bare", 0], "bare"),
    })  # fmt: skip
    assert torch.equal(kept["ruled"]["samples"], kept["bare"]["samples"])


def test_the_sampler_starts_as_the_method_does(run):
    """ZePo skips half of the way and leaves colours; MagicStyle matches them: values that the widgets can take too."""
    for preset, dials, look in (
        ("ZePo", {"mix": 1.0, "style_scale": 1.2}, {"color": "none", "detail": 0.0, "texture": 0.0, "start_step": 2}),
        ("MagicStyle", {"beta": 0.4, "temperature": 1.0}, {"color": "match", "detail": 1.0, "texture": 0.75}),
    ):
        graph = ruled(preset, with_start=True, **dials)
        graph["fff"] = fff("by rule", **look)
        kept = run(graph)
        assert torch.equal(kept["ruled"]["samples"], kept["result"]["samples"])


def test_layers_that_a_method_does_not_find_are_explained(run):
    graph = ruled("StyleID", gamma=0.75, temperature=1.5)
    graph["csdi"]["inputs"]["layers"] = "middle"
    with pytest.raises(AssertionError, match=r"StyleID acts on high-res decoder, and of these .* they keep middle\.0 "):
        run(graph)


def test_a_rule_on_a_batch_of_three_with_guidance(run):
    graph = ruled("PortraitDiffusion", {"rows": "positive"}, guidance=1.5, switch=0.5)
    graph["content"]["inputs"]["batch"] = 3
    graph |= {"text": node("TestPrompt", seed=1, tokens=77, width=64)}
    graph["sampled"]["inputs"] |= {"cfg": 5.0, "positive": ["text", 0]}
    kept = run(graph)
    assert kept["ruled"]["samples"].shape[0] == 3
    assert torch.isfinite(kept["ruled"]["samples"]).all()
