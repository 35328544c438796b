"""What the nodes do by default: queries matched to the portrait, and the style's colours on the finished latent."""

import pytest
import torch
from graphs import INVERSION, MATCHED, SAMPLER, csdi, custom, ddim, error_of, fff, full, fusion, keep

import nodes
from comfy_api.latest import io

LIKE = 1e-2  # of the style's own moments; the floor under the covariance is 1e-4 of it


def defaults(name):
    """A node's inputs as they are when nobody touches them."""
    found = {}
    for field in nodes.NODE_CLASS_MAPPINGS[name].define_schema().inputs:
        if isinstance(field, io.DynamicCombo.Input):
            first = field.options[0]
            found |= {field.id: first.key} | {f"{field.id}.{dial.id}": dial.default for dial in first.inputs}
        elif getattr(field, "default", None) is not None:
            found[field.id] = field.default
    return found


def matched(style=None, content=None, ffa_changes=None, **fff_changes):
    return full({**MATCHED, **(ffa_changes or {})}, fff_changes, style=style, content=content)


def test_defaults_of_the_nodes():
    assert defaults("MagicStyle_FFA") == fusion("MagicStyle", beta=0.3, temperature=1.0, details=0.1)
    assert defaults("MagicStyle_Sampler") == {"style_strength": 1.0, "look": "as the method"}
    assert defaults("MagicStyle_FusedSampler") == {**SAMPLER, "look": "as the method"}
    inversion = {**INVERSION, "steps": 20, "layers": "high-res decoder", "precision": "fp16", "storage": "auto"}
    inversion |= {"keep_every": 1, "start_percent": 0.0, "end_percent": 0.99}
    assert defaults("MagicStyle_Invert") == inversion
    assert defaults("MagicStyle_CSDI") == {**inversion, "keep_content": True}


def test_a_look_of_ones_own_begins_as_the_packs_own_method_does():
    """And in the sweep without pieces, which would hide what attention does."""
    own = {"color": "match", "color_strength": 1.0, "detail": 1.0, "texture": 0.75, "start_step": 0}
    for name in ("MagicStyle_Sampler", "MagicStyle_FusedSampler"):
        (look,) = (f for f in nodes.NODE_CLASS_MAPPINGS[name].define_schema().inputs if f.id == "look")
        assert [option.key for option in look.options] == ["as the method", "own"]
        assert {dial.id: dial.default for dial in look.options[1].inputs} == own
    sweep = {name: value for name, value in defaults("MagicStyle_Sweep").items() if name.startswith("look")}
    assert sweep == {"look": "own", **{f"look.{name}": value for name, value in {**own, "texture": 0.0}.items()}}


def test_matched_queries_give_another_picture_than_stored(run):
    matched_result, stored = (run(matched(ffa_changes={"queries": q}))["result"] for q in ("matched", "stored"))
    assert torch.isfinite(matched_result["samples"]).all()
    assert 1e-3 < error_of(matched_result, stored) < 2  # measured 7e-3


def test_every_portrait_of_a_batch_is_matched_by_itself(run):
    batch = run(matched(content={"batch": 3}, cfg=2.0))
    alone = run(matched(cfg=2.0))
    assert torch.equal(batch["content"]["samples"][:1], alone["content"]["samples"])  # filled row by row
    assert error_of({"samples": batch["result"]["samples"][:1]}, alone["result"]) < 1e-4
    assert len({float(x) for x in batch["result"]["samples"].flatten(1).sum(1)}) == 3


@pytest.mark.parametrize("size", [(24, 20), (8, 12)], ids=str)
@pytest.mark.parametrize("keys", ["style", "content+style"])
def test_a_style_of_another_size(run, size, keys):
    style = {"height": size[0], "width": size[1]}
    kept = run(matched(style=style, ffa_changes={"keys": keys}))
    assert kept["result"]["samples"].shape == kept["content"]["samples"].shape
    assert torch.isfinite(kept["result"]["samples"]).all()
    assert error_of(kept["result"], kept["content"]) > 0.02


def moments(latent):
    """Mean ``(B,C)`` and covariance ``(B,C,C)`` over the places of a LATENT."""
    tokens = latent["samples"].flatten(2).double()
    centered = tokens - tokens.mean(2, keepdim=True)
    return tokens.mean(2), centered @ centered.mT / tokens.shape[2]


@pytest.mark.parametrize("styles", [1, 3])
def test_texture_lays_pieces_of_the_style_without_its_colours_too(run, styles):
    graph = csdi(content={"batch": 3}, style={"batch": styles, "height": 20}, steps=8) | {
        name: fff("model", color="none", texture=texture) for name, texture in (("plain", 0.0), ("laid", 0.75))
    }
    kept = run(graph | {f"keep {name}": keep([name, 0], name) for name in ("plain", "laid")})
    assert torch.isfinite(kept["laid"]["samples"]).all()
    assert error_of(kept["laid"], kept["plain"]) > 0.1
    assert error_of(kept["plain"], kept["content"]) < 1e-4


@pytest.mark.parametrize("styles", [1, 3])
def test_the_finished_latent_has_the_moments_of_the_style(run, styles):
    graph = matched(content={"batch": 3}, style={"batch": styles, "height": 20}, color="match")
    kept = run(graph | {"keep style": keep(["style", 0], "style")})
    for got, wanted in zip(moments(kept["result"]), moments(kept["style"]), strict=True):
        for one, like in zip(got, wanted.expand_as(got), strict=True):
            assert (one - like).norm() < LIKE * like.norm()


def test_colour_of_strength_0_is_no_colour(run):
    graph = matched(color="match", color_strength=0.0)
    graph |= {"none": fff("ffa", color="none"), "keep none": keep(["none", 0], "none")}
    kept = run(graph)
    assert torch.equal(kept["result"]["samples"], kept["none"]["samples"])


def test_colour_and_texture_without_a_style_bank_are_none(run):
    graph = csdi() | {
        name: fff("model", style=False, color=name, texture=texture)
        for name, texture in (("match", 0.75), ("none", 0.0))
    }
    graph |= {f"keep {name}": keep([name, 0], name) for name in ("match", "none")}
    kept = run(graph)
    assert torch.equal(kept["match"]["samples"], kept["none"]["samples"])


def test_the_sampler_for_custom_samplers_does_what_the_fused_sampler_does(run):
    kept = run(full(MATCHED, {"look": "as the method"}) | custom(ddim(look="as the method")))
    assert error_of(kept["custom"], kept["result"]) < 1e-4
