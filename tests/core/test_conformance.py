"""Every method gives the attention that its authors published: by formula, and by vectors recorded from formulas."""

import inspect
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from denoisers import assert_close, capture, select, smooth_latent
from formulas import look
from published import PUBLISHED, PUBLISHED_DIALS, attend, picture, plain
from record_vectors import FILE, GRID, HEADS, MOMENTS, PICTURES, STEPS, key, vectors
from safetensors.numpy import load_file
from unet import attend as host_attention

from magicstyle_core.fusion.attention import FusionPatch
from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import AttentionInputs, Moment
from magicstyle_core.layers import PRESETS, AttentionLayer, LayerKey
from magicstyle_core.methods import METHODS, Start

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHOICES = [(name, number) for name, choices in PUBLISHED_DIALS.items() for number in range(len(choices))]
MOST_BYTES = 1_000_000

# method.md's table: self-attentions counted as they run in SD 1.5 (10 to 15 are output.6-11), and how sampling starts.
ALL, DECODER, LATE, HIGH = range(16), range(7, 16), range(8, 16), range(10, 16)
LAYERS_AND_START = {
    "MagicStyle": ([ALL], Start("match", 1.0, 0.75)),
    "MagicStyle, as published": ([ALL], Start("adain")),
    "MagicStyle, joined keys": ([ALL], Start("adain")),
    "MagicStyle, sum of attentions": ([ALL], Start("adain")),
    "StyleID": ([HIGH], Start("adain")),
    "PortraitDiffusion": ([HIGH], Start("none")),
    "MasaCtrl": ([HIGH], Start("none")),
    "Visual Style Prompting": ([DECODER], Start("none")),
    "Cross-image attention": ([range(13, 16), range(10, 13)], Start("adain")),
    "ZePo": ([LATE], Start("none", skipped=0.5)),
    "StyleAligned": ([ALL], Start("none")),
    "DiffStyler": ([LATE], Start("none")),
    "Standard attention": ([ALL], Start("match", 1.0)),
}


def sd15():
    """The sixteen self-attentions of SD 1.x and 2.x, in the order in which they run."""
    places = [("input", i, 2 ** (i // 3)) for i in (1, 2, 4, 5, 7, 8)] + [("middle", 0, 8)]
    places += [("output", i, 4 // 2 ** ((i - 3) // 3)) for i in range(3, 12)]
    return [AttentionLayer(LayerKey(block, index, 0), 320, scale) for block, index, scale in places]


@pytest.fixture(scope="module")
def recorded():
    return load_file(FILE)


def test_every_method_has_a_formula_and_its_published_dials():
    assert set(PUBLISHED) == set(PUBLISHED_DIALS) == set(LAYERS_AND_START) == set(METHODS)
    for name, make in METHODS.items():
        defaults = {dial: parameter.default for dial, parameter in inspect.signature(make).parameters.items()}
        assert defaults == PUBLISHED_DIALS[name][0], name
        assert make().name == name


@pytest.mark.parametrize("name", METHODS)
def test_layers_and_start_are_the_published_ones(name):
    wanted, start = LAYERS_AND_START[name]
    method = METHODS[name]()
    layers = sd15()
    assert [[i for i, layer in enumerate(layers) if PRESETS[part.layers](layer)] for part in method.parts] == [
        list(indices) for indices in wanted
    ]
    assert method.start == start


def evaluated(rule, live, content, style, moment, weights):
    """What a layer makes of a rule's branches, branch by branch, with these projections ``(C,C)`` from the right."""
    inputs = AttentionInputs(live, live, live)
    total = torch.zeros_like(live)
    for branch in rule(inputs, Feature(content, GRID), Feature(style, GRID), moment):
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
    parts = METHODS[name](**PUBLISHED_DIALS[name][number]).parts
    for part, (rule, _) in enumerate(parts):
        out = evaluated(rule, *hidden, Moment(step, STEPS), weights)[0]
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
    chosen = [[layer for layer in everything if PRESETS[part.layers](layer)] for part in METHODS[name](**dials).parts]
    patches = [
        FusionPatch(part.rule, content, style, type(select(model))(tuple(layers)))
        for part, layers in zip(METHODS[name](**dials).parts, chosen, strict=True)
    ]
    for address, seen in look(model.patched(*patches), running, sigma).items():
        attention = model.unet.block(address).attn1
        to = [getattr(attention, f"to_{p}").weight.T.numpy() for p in "qkv"]
        hidden = (seen.live[0], *(bank.get(step, address, like=running).hidden[0] for bank in (content, style)))
        grid = content.get(step, address, like=running).grid
        seen_as = [picture(h.numpy(), grid, *to, attention.heads) for h in hidden]
        part = next((i for i, layers in enumerate(chosen) if any(layer.key == address for layer in layers)), None)
        expected = plain(seen_as[0]) if part is None else PUBLISHED[name][part](*seen_as, *moment, **dials)
        assert_close(seen.output[0], attention.to_out(torch.from_numpy(np.ascontiguousarray(expected))), 1e-11)


@pytest.mark.parametrize("name", ["MagicStyle, joined keys", "StyleAligned", "Cross-image attention"])
def test_own_softmaxes_read_a_style_of_another_size(model, content, sigmas, name):
    """Only stored queries need the style on the content's grid, and they are resampled to it."""
    (style,) = capture(model, smooth_latent(6, 10, seed=22), sigmas)
    step, dials = 2, dict(PUBLISHED_DIALS[name][1])
    if "beta" in dials:
        dials["beta"] = 0.0
    method = METHODS[name](**dials)
    running = content.trajectory.latents[step] + smooth_latent(8, 8, seed=31)
    layers = select(model, "output.2-3")  # of the finer grid
    patch = FusionPatch(method.parts[0].rule, content, style, layers)
    seen = look(model.patched(patch), running, content.trajectory.sigmas[step : step + 1])
    for layer in layers:
        attention = model.unet.block(layer.key).attn1
        to = [getattr(attention, f"to_{p}").weight.T.numpy() for p in "qkv"]
        live, out = seen[layer.key]
        features = [bank.get(step, layer.key, like=running) for bank in (content, style)]
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
