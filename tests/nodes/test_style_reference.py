"""FFA without content_bank: the running image takes the portrait's place, at any size and in any sampler."""

import math

import pytest
import torch
from graphs import csdi, error_of, ffa, fff, full, keep, latent, node

import comfy.samplers
import nodes
from magicstyle_core.methods import METHODS

NEED = ("MagicStyle, joined keys", "MagicStyle, sum of attentions", "Cross-image attention", "ZePo", "DiffStyler")
WITHOUT = tuple(name for name in METHODS if name not in NEED)
ACTS = 1e-5  # measured 3e-5 for MasaCtrl, which leaves the first step: from noise a random network gives mostly noise
OTHER_SIZE = {"height": 24, "width": 12}
TEXTS = {
    "positive": node("TestPrompt", seed=1, tokens=77, width=64),
    "negative": node("TestPrompt", seed=2, tokens=77, width=64),
}


def of(name, **changes):
    dials = {dial.name: dial.default for dial in METHODS[name].dials}
    return {"method": name, **dials, "content": False, **changes}


def style(**inversion):
    """A style alone: no portrait was ever inverted."""
    graph = csdi(**inversion)
    inputs = {name: value for name, value in graph.pop("csdi")["inputs"].items() if name not in ("content", "style")}
    del graph["content"], graph["keep content"]
    return graph | {"bank": node("MagicStyle_Invert", latent=["style", 0], **inputs)}


def sampled(models, batch=2, size=OTHER_SIZE, cfg=5.0, sampler="euler", scheduler="normal", steps=4):
    """KSampler from noise on each of the models, by name; keeps the latents by these names."""
    graph = style() | TEXTS | {"empty": latent(9, batch=batch, **size)}
    for name, made in models.items():
        graph |= {f"{name} model": made} if made else {}
        graph[f"keep {name}"] = keep([name, 0], name)
        graph[name] = node(
            "KSampler", model=[f"{name} model" if made else "model", 0], seed=5, steps=steps, cfg=cfg,
            sampler_name=sampler, scheduler=scheduler, positive=["positive", 0], negative=["negative", 0],
            latent_image=["empty", 0], denoise=1.0,
        )  # fmt: skip
    return graph


def reference(name, **changes):
    return ffa(**of(name, style_bank=["bank", 0], **changes))


def test_methods_say_themselves_what_they_cannot_do_without(pack):
    fusion = pack("nodes.fusion")
    assert {name for name, method in fusion.METHODS.items() if fusion.needs_content(method)} == set(NEED)


@pytest.mark.parametrize("name", [name for name in WITHOUT if name != "Standard attention"])
def test_pictures_from_noise_take_the_style_at_another_size(run, name):
    """Two at once under guidance; each as it is alone."""
    both = run(sampled({"fused": reference(name), "bare": None}))
    assert both["fused"]["samples"].shape == (2, 4, 24, 12)
    assert torch.isfinite(both["fused"]["samples"]).all()
    assert error_of(both["fused"], both["bare"]) > ACTS
    alone = run(sampled({"fused": reference(name)}, batch=1))["fused"]
    assert error_of({"samples": both["fused"]["samples"][:1]}, alone) < 1e-4  # the host's noise is filled row by row


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "euler_ancestral"])
def test_any_sampler(run, sampler):
    kept = run(sampled({"fused": reference("StyleID"), "bare": None}, batch=1, sampler=sampler, scheduler="karras"))
    assert torch.isfinite(kept["fused"]["samples"]).all()
    assert error_of(kept["fused"], kept["bare"]) > ACTS


def test_of_strength_zero_it_changes_no_bit(run):
    kept = run(sampled({"fused": reference("MagicStyle", strength=0.0), "bare": None}))
    assert torch.equal(kept["fused"]["samples"], kept["bare"]["samples"])


@pytest.mark.parametrize("changes", [{"storage": "recompute"}, {"storage": "disk"}, {"keep_every": 2}], ids=str)
def test_every_kind_of_bank_serves(run, changes):
    graph, stored = (sampled({"fused": reference("Visual Style Prompting")}, batch=1) for _ in range(2))
    graph["bank"]["inputs"] |= changes
    # At its own noise levels and not at the nearest kept ones: near, and not the same.
    bound = 1e-6 if changes == {"storage": "disk"} else 0.05
    assert error_of(run(graph)["fused"], run(stored)["fused"]) < bound


class Watching:
    """After FFA: what self-attention of one layer is given and gives in the first evaluation."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"
    seen = None  # of the test that runs

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",)}}

    @classmethod
    def IS_CHANGED(cls, **inputs):  # noqa: N802
        return float("nan")

    def run(self, model):
        model = model.clone()

        def before(n, context, value, extra_options):
            if extra_options["block"] == ("output", 3):
                self.seen.setdefault("live", n)
                self.seen.setdefault("sigma", float(extra_options["sigmas"][0]))
            return n, context, value

        def after(out, extra_options):
            if extra_options["block"] == ("output", 3):
                self.seen.setdefault("out", out)
            return out

        model.model_options["transformer_options"]["patches"]["attn1_patch"].insert(0, before)
        model.set_model_attn1_output_patch(after)
        return (model,)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Visual Style Prompting", lambda live, style: live),
        ("StyleID", lambda live, style: 1.5 * live),
        ("MagicStyle, as published", lambda live, style: 0.8 * live + 0.2 * style),
    ],
)
def test_the_formula_with_the_running_image_in_the_portraits_place(run, monkeypatch, name, query):
    """A(Q, K_s, V_s) and its kin, on the network's own projections."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestWatching", Watching)
    monkeypatch.setattr(Watching, "seen", {})
    graph = sampled({"fused": reference(name)})
    graph["watched"] = node("TestWatching", model=["fused model", 0])
    graph["fused"]["inputs"]["model"] = ["watched", 0]
    kept = run(graph | {"keep model": keep(["model", 0], "model"), "keep bank": keep(["bank", 0], "bank")})
    seen, bank = Watching.seen, kept["bank"]
    (block,) = (
        part for part in kept["model"].model.diffusion_model.output_blocks[3] if hasattr(part, "transformer_blocks")
    )
    attention = block.transformer_blocks[0].attn1
    (key,) = (layer.key for layer in bank.layers if layer.key[:2] == ("output", 3))
    stored = bank.store.at(bank.kept_at(seen["sigma"]))[key].unpack(seen["live"])
    live, hidden = seen["live"], stored.hidden
    rows = len(live)
    assert rows == 4  # two pictures under two prompts
    asked = query(live, stored.on((12, 6)).expand(rows, -1, -1))
    with torch.inference_mode():
        q, k, v = attention.to_q(asked), attention.to_k(hidden), attention.to_v(hidden)
        q, k, v = (x.expand(rows, -1, -1).unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v
        expected = attention.to_out(attended.transpose(1, 2).flatten(2))
    assert torch.allclose(seen["out"], expected, atol=1e-4)


@pytest.mark.parametrize("name", NEED)
def test_methods_that_read_the_portrait_are_refused_before_anything_runs(run, monkeypatch, name):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))
    with pytest.raises(AssertionError) as error:
        run(sampled({"fused": reference(name)}))
    message = str(error.value)
    assert (
        f"{name} reads the portrait's features. Connect content_bank, or choose a method that does without" in message
    )
    assert all(other in message for other in WITHOUT)


@pytest.mark.parametrize(
    ("dials", "method"),
    [({"keys": "content"}, "Custom"), ({"keys": "content+style"}, "Custom, joined keys")],
)
def test_a_custom_attention_is_refused_where_it_reads_the_portrait(run, dials, method):
    graph = sampled({"fused": ffa(content=False, style_bank=["bank", 0], **dials)})
    with pytest.raises(AssertionError, match=f"{method} reads the portrait's features. Connect content_bank"):
        run(graph)
    graph["fused model"] = ffa(content=False, style_bank=["bank", 0], keys="live+style")
    assert torch.isfinite(run(graph)["fused"]["samples"]).all()


@pytest.mark.parametrize("name", ["MasaCtrl", "Visual Style Prompting", "StyleAligned"])
def test_what_never_reads_the_portrait_gives_the_same_without_its_bank(run, name):
    """In Fused Sampler, which has the portrait's bank itself."""
    graph = full(of(name, content=True), {"look": "as the method"})
    graph |= {"alone": ffa(**of(name)), "sampled": fff("alone", look="as the method")}
    kept = run(graph | {"keep alone": keep(["sampled", 0], "alone")})
    assert torch.equal(kept["alone"]["samples"], kept["result"]["samples"])


@pytest.mark.parametrize("name", ["MagicStyle", "StyleID"])
def test_what_reads_it_where_it_is_differs_without_its_bank(run, name):
    graph = full(of(name, content=True), {"color": "none"})
    graph |= {"alone": ffa(**of(name)), "sampled": fff("alone", color="none")}
    kept = run(graph | {"keep alone": keep(["sampled", 0], "alone")})
    assert error_of(kept["alone"], kept["result"]) > 1e-4
    assert error_of(kept["alone"], kept["content"]) > 1e-2
