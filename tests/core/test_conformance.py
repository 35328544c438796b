"""Every method gives the attention that its authors published: by formula, and by vectors recorded from formulas."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from denoisers import assert_close, capture, feature, fusion, select, smooth_latent
from formulas import look
from published import PUBLISHED, PUBLISHED_DIALS, attend, picture, plain
from record_vectors import FILE, GRID, HEADS, MOMENTS, PICTURES, STEPS, key, vectors
from safetensors.numpy import load_file
from unet import attend as host_attention

from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import AttentionInputs, Moment
from magicstyle_core.layers import PRESETS, AttentionLayer, LayerKey, LayerSelection
from magicstyle_core.methods import CUSTOM, METHODS
from magicstyle_core.sampling.fff import Look

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHOICES = [(name, number) for name, choices in PUBLISHED_DIALS.items() for number in range(len(choices))]
MOST_BYTES = 1_000_000

# method.md's table: self-attentions counted as they run in SD 1.5 (10 to 15 are output.6-11), and the look of the
# picture.
ALL, DECODER, LATE, HIGH = range(16), range(7, 16), range(8, 16), range(10, 16)
LAYERS_AND_LOOK = {
    "MagicStyle": ([ALL], Look("match", texture=0.75)),
    "MagicStyle, as published": ([ALL], Look("adain", detail=0.0, texture=0.0)),
    "MagicStyle, joined keys": ([ALL], Look("adain", detail=0.0, texture=0.0)),
    "MagicStyle, sum of attentions": ([ALL], Look("adain", detail=0.0, texture=0.0)),
    "StyleID": ([HIGH], Look("adain", detail=0.0, texture=0.0)),
    "PortraitDiffusion": ([HIGH], Look("none", detail=0.0, texture=0.0)),
    "MasaCtrl": ([HIGH], Look("none", detail=0.0, texture=0.0)),
    "Visual Style Prompting": ([DECODER], Look("none", detail=0.0, texture=0.0)),
    "Cross-image attention": ([range(13, 16), range(10, 13)], Look("adain", detail=0.0, texture=0.0)),
    "ZePo": ([LATE], Look("none", detail=0.0, texture=0.0, skipped=0.5)),
    "StyleAligned": ([ALL], Look("none", detail=0.0, texture=0.0)),
    "DiffStyler": ([LATE], Look("none", detail=0.0, texture=0.0)),
    "Standard attention": ([ALL], Look("match", texture=0.0)),
}


def sd15():
    """The sixteen self-attentions of SD 1.x and 2.x, in the order in which they run."""
    places = [("input", i, 2 ** (i // 3)) for i in (1, 2, 4, 5, 7, 8)] + [("middle", 0, 8)]
    places += [("output", i, 4 // 2 ** ((i - 3) // 3)) for i in range(3, 12)]
    return [AttentionLayer(LayerKey(block, index, 0), 320, scale) for block, index, scale in places]


def parts_of(name, number=0):
    return METHODS[name].parts(**PUBLISHED_DIALS[name][number])


@pytest.fixture(scope="module")
def recorded():
    return load_file(FILE)


def test_every_method_has_a_formula_and_its_published_dials():
    assert set(PUBLISHED) == set(PUBLISHED_DIALS) == set(LAYERS_AND_LOOK) == set(METHODS)
    for name, method in METHODS.items():
        assert {dial.name: dial.default for dial in method.dials} == PUBLISHED_DIALS[name][0], name
        assert method.name == str(method) == name


@pytest.mark.parametrize("method", [*METHODS.values(), *CUSTOM.values()], ids=str)
def test_every_dial_has_a_range_or_choices_around_its_default(method):
    """And makes parts at each of its ends."""
    usual = {dial.name: dial.default for dial in method.dials}
    assert len(usual) == len(method.dials)
    for dial in method.dials:
        assert dial.text
        assert dial.default in dial.choices if dial.choices else dial.low <= dial.default <= dial.high
        for value in dial.choices or (dial.low, dial.high):
            parts = method.parts(**usual | {dial.name: value})
            assert all(part.layers in PRESETS for part in parts)


def test_custom_methods_are_magicstyle_until_a_dial_is_turned():
    own = METHODS["MagicStyle"]
    for method in CUSTOM.values():
        assert method.look == own.look
        usual = {dial.name: dial.default for dial in method.dials}
        ((rule, layers),) = method.parts(**usual | {"keys": "style"})
        assert ((rule, layers),) == own.parts(beta=0.4, temperature=1.0, details=0.0)
        ((apart, _),) = method.parts(**usual | {"alpha": 0.9, "beta": 0.1})
        assert (apart.alpha, apart.beta) == (0.9, 0.1)


@pytest.mark.parametrize("name", METHODS)
def test_layers_and_look_are_the_published_ones(name):
    wanted, look = LAYERS_AND_LOOK[name]
    layers = sd15()
    found = [[i for i, layer in enumerate(layers) if PRESETS[part.layers](layer)] for part in parts_of(name)]
    assert found == [list(indices) for indices in wanted]
    assert METHODS[name].look == look


def evaluated(rule, live, content, style, moment, weights):
    """What a layer makes of a rule's branches, branch by branch, with these projections ``(C,C)`` from the right."""
    inputs = AttentionInputs(live, live, live)
    total = torch.zeros_like(live)
    for branch in rule(inputs, {"content": Feature(content, GRID), "style": Feature(style, GRID)}, moment):
        q, k, v = (hidden @ weight for hidden, weight in zip(branch.inputs, weights, strict=True))
        if branch.attention is None:
            total = total + branch.weight * host_attention(q, k, v, HEADS)
        else:
            host = lambda q, k, v: host_attention(q, k, v, HEADS)  # noqa: E731
            total = total + branch.weight * branch.attention(q, k, v, HEADS, host)
    return total


@pytest.mark.parametrize(("name", "number"), CHOICES)
@pytest.mark.parametrize("step", MOMENTS)
def test_rules_give_the_recorded_vectors(recorded, name, number, step):
    hidden = [torch.from_numpy(recorded[f"hidden {p}"])[None] for p in PICTURES]
    weights = [torch.from_numpy(recorded[f"to {p}"]) for p in "qkv"]
    for part, (rule, _) in enumerate(parts_of(name, number)):
        out = evaluated(rule, *hidden, Moment(step, STEPS, GRID), weights)[0]
        assert_close(out, torch.from_numpy(recorded[key(name, number, part, step)]), 1e-12)


def test_vectors_are_what_the_script_makes(recorded):
    made = vectors()
    assert set(made) == set(recorded)
    for name, values in made.items():
        np.testing.assert_allclose(recorded[name], values, rtol=1e-12, atol=1e-13)
    assert FILE.stat().st_size < MOST_BYTES


def test_vectors_tell_methods_apart(recorded):
    """A test with them can fail: no two methods agree at all moments, and stages differ."""
    found = {name: np.stack([recorded[key(name, 0, 0, step)] for step in MOMENTS]) for name in METHODS}
    names = list(found)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(found[one] - found[other]).max() > 1e-3, (one, other)


@pytest.mark.parametrize(("name", "number"), CHOICES)
@pytest.mark.parametrize("step", [1, 4])
def test_layers_of_a_network_follow_the_formula(model, content, style, name, number, step):
    """Through patches, stacking and output projections; where a method has no part a layer is as it was."""
    dials = PUBLISHED_DIALS[name][number]
    running = content.trajectory.latents[step] + smooth_latent(8, 8, seed=31)
    sigma, moment = content.trajectory.sigmas[step : step + 1], (4 - step, 4)
    everything = select(model).layers
    parts = parts_of(name, number)
    chosen = [LayerSelection(tuple(layer for layer in everything if PRESETS[part.layers](layer))) for part in parts]
    patches = [fusion(model, part.rule, content, style, on) for part, on in zip(parts, chosen, strict=True)]
    for address, seen in look(model.patched(*patches), running, sigma).items():
        attention = model.unet.block(address).attn1
        to = [getattr(attention, f"to_{p}").weight.T.numpy() for p in "qkv"]
        hidden = (seen.live[0], *(feature(bank, step, address, like=running).hidden[0] for bank in (content, style)))
        grid = feature(content, step, address, like=running).grid
        seen_as = [picture(h.numpy(), grid, *to, attention.heads) for h in hidden]
        part = next((i for i, layers in enumerate(chosen) if address in layers), None)
        expected = plain(seen_as[0]) if part is None else PUBLISHED[name][part](*seen_as, *moment, **dials)
        assert_close(seen.output[0], attention.to_out(torch.from_numpy(np.ascontiguousarray(expected))), 1e-11)


@pytest.mark.parametrize("name", ["MagicStyle, joined keys", "StyleAligned", "Cross-image attention"])
def test_own_softmaxes_read_a_style_of_another_size(model, content, sigmas, name):
    """Only stored queries need the style on the content's grid, and they are resampled to it."""
    (style,) = capture(model, smooth_latent(6, 10, seed=22), sigmas)
    step, dials = 2, dict(PUBLISHED_DIALS[name][1])
    if "beta" in dials:
        dials["beta"] = 0.0
    rule = METHODS[name].parts(**dials)[0].rule
    running = content.trajectory.latents[step] + smooth_latent(8, 8, seed=31)
    layers = select(model, "output.2-3")  # of the finer grid
    patch = fusion(model, rule, content, style, layers)
    seen = look(model.patched(patch), running, content.trajectory.sigmas[step : step + 1])
    for layer in layers:
        attention = model.unet.block(layer.key).attn1
        to = [getattr(attention, f"to_{p}").weight.T.numpy() for p in "qkv"]
        live, out = seen[layer.key]
        features = [feature(bank, step, layer.key, like=running) for bank in (content, style)]
        pictures = [picture(live[0].numpy(), features[0].grid, *to, attention.heads)]
        pictures += [picture(f.hidden[0].numpy(), f.grid, *to, attention.heads) for f in features]
        if "beta" in dials:  # the style's queries weigh nothing; any of the right shape will do
            pictures[2] = type(pictures[2])(**{**vars(pictures[2]), "q": pictures[1].q})
        expected = PUBLISHED[name][0](*pictures, 2, 4, **dials)
        assert_close(out[0], attention.to_out(torch.from_numpy(np.ascontiguousarray(expected))), 1e-11)


def test_the_formula_of_attention_is_the_network_s():
    """The yardstick itself: numpy's attention next to torch's."""
    q, k, v = (torch.randn(7, 8, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2, 3))
    expected = torch.from_numpy(attend(q.numpy(), k.numpy(), v.numpy(), 2))
    assert_close(host_attention(q[None], k[None], v[None], 2)[0], expected)


def test_the_page_of_methods_shows_every_one():
    """docs/presets.md is made of METHODS; a new method needs a new page."""
    text = (DOCS / "presets.md").read_text(encoding="utf-8")
    assert text == runpy.run_path(str(DOCS.parent / "benchmarks" / "presets.py"))["page"](METHODS)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(METHODS)
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(pictures) == len(METHODS) + 1
    assert all((DOCS / picture).is_file() for picture in pictures)
    for name, dials in PUBLISHED_DIALS.items():
        shown = ", ".join(f"{dial} {value:g}" for dial, value in dials[0].items()) or "no dials"
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert f"Shown: {shown}." in section
