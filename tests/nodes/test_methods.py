"""Methods through the executor: what each is in words of the custom one, its dials, its look, and a new one."""

import importlib.util
from pathlib import Path

import pytest
import torch
from graphs import MATCHED, csdi, custom, ddim, error_of, ffa, fff, full, keep, node

import nodes
from comfy_api.latest import io
from magicstyle_core.methods import CUSTOM, METHODS

EXACT = 1e-5
SEVERAL = "Several methods are on the model: it starts and ends as the last one does"
SHOWN = {name: {dial.name: dial.default for dial in method.dials} for name, method in (METHODS | CUSTOM).items()}
ZEPO = {"color": "none", "detail": 0.0, "texture": 0.0, "start_step": 2}  # its look on four steps


def of(name, **changes):
    """Changes of FFA that make it a method at its own dials."""
    return {"method": name, **SHOWN[name], **changes}


@pytest.fixture
def patches_of(pack):
    """FFA's patches on a MODEL."""
    return lambda model: pack("nodes.host.attention").fusion_patches(model.model_options["transformer_options"])


def offered():
    (method,) = (f for f in nodes.NODE_CLASS_MAPPINGS["MagicStyle_FFA"].define_schema().inputs if f.id == "method")
    return {option.key: option.inputs for option in method.options}


def test_the_node_offers_every_method_at_its_published_values():
    assert {name: {dial.id: dial.default for dial in dials} for name, dials in offered().items()} == SHOWN
    assert list(offered()) == [*METHODS, *CUSTOM]
    for dial in (dial for dials in offered().values() for dial in dials):
        assert dial.tooltip
        if isinstance(dial, io.Float.Input):
            assert dial.min <= dial.default <= dial.max
        else:
            assert dial.default in dial.options


def other_than(dial):
    """Another value of a dial than its own."""
    if dial.choices:
        return next(choice for choice in dial.choices if choice != dial.default)
    return dial.low + (0.3 if dial.default < (dial.low + dial.high) / 2 else 0.1) * (dial.high - dial.low)


def test_every_dial_reaches_the_rule_and_every_rule_its_layers(run, pack, patches_of):
    methods = pack("nodes.fusion").offered()
    chosen = {name: {dial.name: other_than(dial) for dial in method.dials} for name, method in methods.items()}
    graph = csdi()
    for name, dials in chosen.items():
        graph |= {name: ffa(method=name, **dials), f"keep {name}": keep([name, 0], name)}
    kept = run(graph)
    presets = pack("magicstyle_core.layers").PRESETS
    for name, dials in chosen.items():
        parts, usual = methods[name].parts(**dials), methods[name].parts(**SHOWN[name])
        found = patches_of(kept[name])
        assert [patch.rule for patch in found] == [part.rule for part in parts], name
        assert (parts == usual) == (not dials), name
        for patch, part in zip(found, parts, strict=True):
            layers = patch.banks["style"].layers
            assert tuple(patch.layers) == tuple(filter(presets[part.layers], layers)), name


@pytest.mark.parametrize("name", [name for name in METHODS if name != "Standard attention"])
def test_every_method_changes_the_picture(run, name):
    graph = full(of(name), {"look": "as the method"})
    graph |= {"none": ffa(**of(name, strength=0.0)), "bare": fff("none", look="as the method")}
    kept = run(graph | {"keep bare": keep(["bare", 0], "bare")})
    assert torch.isfinite(kept["result"]["samples"]).all()
    assert error_of(kept["result"], kept["bare"]) > 5e-4  # measured 7e-4 for ZePo, which runs half of the steps


def test_standard_attention_is_no_patch(run):
    graph = full(of("Standard attention")) | {"bare": fff("model"), "keep bare": keep(["bare", 0], "bare")}
    kept = run(graph)
    assert torch.equal(kept["result"]["samples"], kept["bare"]["samples"])


@pytest.mark.parametrize(
    ("name", "dials", "settings"),
    [
        ("MagicStyle", {"beta": 0.4, "details": 0.0}, MATCHED),
        ("MagicStyle, as published", {}, {}),
        ("MagicStyle, as published", {"beta": 0.5}, {"beta": 0.5}),
        ("MagicStyle, joined keys", {}, {"keys": "content+style", "style_weight": 4.0}),
        ("StyleID", {}, {"beta": 0.25, "queries": "live", "temperature": 1.5, "layers": "high-res decoder"}),
        ("MasaCtrl", {"start": 0.0}, {"beta": 1.0, "queries": "live", "layers": "high-res decoder"}),
        ("Visual Style Prompting", {}, {"beta": 1.0, "queries": "live", "layers": "decoder"}),
        ("ZePo", {}, {"keys": "content+style", "beta": 1.0, "queries": "live", "style_scale": 1.2,
                      "layers": "late decoder"}),
        ("ZePo", {"mix": 0.3}, {"keys": "content+style", "beta": 0.3, "queries": "live", "style_scale": 1.2,
                                "layers": "late decoder"}),
    ],
)  # fmt: skip
def test_a_method_that_is_a_custom_attention_gives_its_picture(run, name, dials, settings):
    graph = full(settings) | {"named": ffa(**of(name, **dials)), "sampled": fff("named")}
    kept = run(graph | {"keep named": keep(["sampled", 0], "named")})
    assert error_of(kept["named"], kept["result"]) < EXACT


@pytest.mark.parametrize("changes", [{"strength": 0.5}, {"layers": "output.5"}, {"end_percent": 0.5}])
def test_the_other_inputs_of_ffa_act_on_a_method(run, changes):
    graph = full(of("StyleID")) | {"part": ffa(**of("StyleID", **changes)), "partly": fff("part")}
    kept = run(graph | {"keep partly": keep(["partly", 0], "partly")})
    assert error_of(kept["partly"], kept["result"]) > 1e-4
    assert error_of(kept["partly"], kept["plain"]) > 1e-4


def test_strength_zero_is_no_method(run):
    graph = full(of("Cross-image attention", strength=0.0)) | {"bare": fff("model")}
    kept = run(graph | {"keep bare": keep(["bare", 0], "bare")})
    assert torch.equal(kept["result"]["samples"], kept["bare"]["samples"])


def test_layers_that_a_method_does_not_find_are_explained(run):
    with pytest.raises(AssertionError, match=r"StyleID acts on high-res decoder, and of these .* they keep middle\.0 "):
        run(full(of("StyleID"), layers="middle"))


def test_a_method_on_a_batch_of_three_with_guidance(run):
    graph = full(of("PortraitDiffusion", switch=0.5, rows="positive"), content={"batch": 3})
    graph |= {"text": node("TestPrompt", seed=1, tokens=77, width=64)}
    graph["fff"]["inputs"] |= {"cfg": 5.0, "positive": ["text", 0]}
    kept = run(graph)
    assert kept["result"]["samples"].shape[0] == 3
    assert torch.isfinite(kept["result"]["samples"]).all()


LOOKS = {
    "ZePo": ZEPO,  # skips half of the way and leaves colours
    "MagicStyle": {"color": "match", "detail": 1.0, "texture": 0.75},
    "StyleID": {"color": "adain", "detail": 0.0, "texture": 0.0},
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_samplers_start_and_end_as_the_method_does(run, name):
    """Fused Sampler and DDIM Sampler, by looks that widgets can take too."""
    graph = full(of(name), {"look": "as the method"}) | custom(ddim(look="as the method"))
    graph |= {"own": fff("ffa", **LOOKS[name]), "keep own": keep(["own", 0], "own")}
    kept = run(graph)
    assert torch.equal(kept["result"]["samples"], kept["own"]["samples"])
    assert error_of(kept["custom"], kept["own"]) < EXACT


def test_a_look_of_ones_own_beats_the_methods(run):
    """ZePo from the noise on is its custom attention from the noise on."""
    own = {"color": "match", "detail": 1.0, "start_step": 0}
    graph = full(of("ZePo"), own) | {
        "custom": ffa(keys="content+style", beta=1.0, queries="live", style_scale=1.2, layers="late decoder"),
        "same": fff("custom", **own),
        "other": fff("ffa", look="as the method"),
    }
    kept = run(graph | {f"keep {name}": keep([name, 0], name) for name in ("same", "other")})
    assert error_of(kept["result"], kept["same"]) < EXACT
    assert error_of(kept["result"], kept["other"]) > 1e-2


def test_without_a_method_the_look_is_the_packs_own(run):
    graph = csdi() | {"bare": fff("model", look="as the method"), "own": fff("model", **LOOKS["MagicStyle"])}
    kept = run(graph | {f"keep {name}": keep([name, 0], name) for name in ("bare", "own")})
    assert torch.equal(kept["bare"]["samples"], kept["own"]["samples"])


def two(first, last):
    """A model with two patches, sampled as the method, and by the look of the last; keeps "two" and "own"."""
    return csdi() | {
        "first": ffa(**of(first)),
        "last": ffa("first", **of(last)),
        "two": fff("last", look="as the method"),
        "own": fff("last", **LOOKS[last]),
        **{f"keep {name}": keep([name, 0], name) for name in ("two", "own")},
    }


@pytest.mark.parametrize(("first", "last"), [("MagicStyle", "ZePo"), ("ZePo", "MagicStyle")])
def test_of_several_methods_the_last_says_how_to_start_and_the_log_tells_which(executor, caplog, first, last):
    caplog.set_level("INFO")
    kept = executor.run(two(first, last))
    assert torch.equal(kept["two"]["samples"], kept["own"]["samples"])
    assert [line for line in caplog.messages if SEVERAL in line] == [f"{SEVERAL}, {last}."]


def test_several_methods_that_start_alike_say_nothing(executor, caplog):
    caplog.set_level("INFO")
    executor.run(two("MagicStyle, as published", "StyleID"))
    assert not [line for line in caplog.messages if SEVERAL in line]


def test_another_nodes_patch_has_no_look(run, monkeypatch):
    """Neither does the one that FFA is applied to need to be ours, nor the one after it."""

    class Bystander:
        RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"

        @classmethod
        def INPUT_TYPES(cls):  # noqa: N802
            return {"required": {"model": ("MODEL",)}}

        def run(self, model):
            model = model.clone()
            model.set_model_attn1_patch(lambda n, context, value, extra_options: (n, context, value))
            return (model,)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestBystander", Bystander)
    graph = two("MagicStyle", "ZePo") | {"beside": node("TestBystander", model=["last", 0])}
    graph["two"]["inputs"]["model"] = ["beside", 0]
    kept = run(graph)
    assert torch.equal(kept["two"]["samples"], kept["own"]["samples"])


@pytest.fixture
def added(pack, monkeypatch):
    """A method that is not in the pack, put into its table and nowhere else."""
    methods, fff_ = pack("magicstyle_core.methods"), pack("magicstyle_core.sampling.fff")
    rule = pack("magicstyle_core.fusion.ffa").FeatureFusion
    made = methods.Method(
        "Newest", "arXiv 2999.00001", "Reads the style with a gain.", "A(g Q, K_s, V_s)",
        lambda gain: (methods.Part(rule(0.0, 1.0, queries="live", temperature=gain), "decoder"),),
        (methods.Dial("gain", 1.3, "Raising it sharpens.", 0.5, 2.0),), fff_.Look("none", detail=0.0, texture=0.0),
    )  # fmt: skip
    monkeypatch.setitem(methods.METHODS, made.name, made)
    return made


def test_a_method_in_the_table_is_on_the_node_in_the_sweep_and_on_the_page(run, added, pack):
    (gain,) = offered()["Newest"]
    assert (gain.id, gain.default, gain.min, gain.max, gain.tooltip) == ("gain", 1.3, 0.5, 2.0, "Raising it sharpens.")
    graph = full({"method": "Newest", "gain": 1.5}, {"look": "as the method"}) | {
        "same": ffa(beta=1.0, queries="live", temperature=1.5, layers="decoder"),
        "sampled": fff("same", **{**ZEPO, "start_step": 0}),
    }
    kept = run(graph | {"keep same": keep(["sampled", 0], "same")})
    assert error_of(kept["result"], kept["same"]) < EXACT
    (setting,) = pack("nodes.settings").parse("newest: gain=1.5")
    assert (setting.method, setting.dials) == (added, {"gain": 1.5})
    spec = importlib.util.spec_from_file_location("presets", Path(__file__).parents[2] / "benchmarks" / "presets.py")
    presets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(presets)
    page = presets.page(pack("magicstyle_core.methods").METHODS)
    assert "| Newest | arXiv 2999.00001 | `A(g Q, K_s, V_s)` | decoder | colour none, detail 0 |" in page
    assert "## Newest\n\nReads the style with a gain. Shown: gain 1.3." in page
