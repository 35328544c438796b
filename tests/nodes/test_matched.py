"""What the nodes do by default: queries matched to the portrait, and the style's colours on the finished latent."""

import pytest
import torch
from graphs import FFA, FFF, INVERSION, MATCHED, csdi, error_of, fff, full, keep, node

import nodes

LIKE = 1e-2  # of the style's own moments; the floor under the covariance is 1e-4 of it


def defaults(name):
    schema = nodes.NODE_CLASS_MAPPINGS[name].define_schema()
    return {field.id: field.default for field in schema.inputs if getattr(field, "default", None) is not None}


def matched(style=None, content=None, ffa_changes=None, **fff_changes):
    return full({**MATCHED, **(ffa_changes or {})}, fff_changes, style=style, content=content)


def test_defaults_of_the_nodes():
    assert defaults("MagicStyle_FFA") == {**FFA, **MATCHED, "between_steps": "nearest"}
    look = {"detail": 1.0, "color": "match", "color_strength": 1.0, "texture": 0.75}
    assert defaults("MagicStyle_Sampler") == look
    assert defaults("MagicStyle_FusedSampler") == {**FFF, **look, "style_strength": 1.0}
    inversion = {**INVERSION, "steps": 20, "layers": "high-res decoder", "precision": "fp16", "storage": "auto"}
    inversion |= {"keep_every": 1, "start_percent": 0.0, "end_percent": 0.99}
    assert defaults("MagicStyle_Invert") == inversion
    assert defaults("MagicStyle_CSDI") == {**inversion, "keep_content": True}


def test_options_begin_with_the_default():
    schema = nodes.NODE_CLASS_MAPPINGS["MagicStyle_FFA"].define_schema()
    (queries,) = (field for field in schema.inputs if field.id == "queries")
    assert queries.options == ["matched", "stored", "live"]


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
    graph = matched(color="match", texture=0.75) | {
        "text": node("TestPrompt", seed=1, tokens=77, width=64),
        "zero": node("ConditioningZeroOut", conditioning=["text", 0]),
        "sampler": node(
            "MagicStyle_Sampler", content_bank=["csdi", 0], style_bank=["csdi", 1], **defaults("MagicStyle_Sampler")
        ),
        "sigmas": node("MagicStyle_Sigmas", bank=["csdi", 0]),
        "custom": node(
            "SamplerCustom", model=["ffa", 0], add_noise=False, noise_seed=0, cfg=1.0, positive=["zero", 0],
            negative=["zero", 0], sampler=["sampler", 0], sigmas=["sigmas", 0], latent_image=["csdi", 2],
        ),
        "keep custom": keep(["custom", 0], "custom"),
    }  # fmt: skip
    kept = run(graph)
    assert error_of(kept["custom"], kept["result"]) < 1e-4
