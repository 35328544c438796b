"""What a graph holds either acts, or is refused or named before anything runs."""

import pytest
import torch
from companions import StandIn
from graphs import csdi, custom, ddim, error_of, ffa, fff, full, keep, latent, model, node

import comfy.ldm.modules.attention
import comfy.samplers
import nodes


class Tiles(StandIn):
    """A tiled sampler, as such packs do it: the network sees one half of the latent after the other."""

    RETURN_TYPES = ("MODEL",)
    INPUTS = {"model": ("MODEL",)}  # noqa: RUF012

    def run(self, model):
        model = model.clone()

        def halves(apply_model, told):
            x, timestep, c = told["input"], told["timestep"], told["c"]
            return torch.cat([apply_model(part, timestep, **c) for part in x.chunk(2, 3)], 3)

        model.set_model_unet_function_wrapper(halves)
        return (model,)


class Told(StandIn):
    """A conditioning with something more in it."""

    RETURN_TYPES = ("CONDITIONING",)
    INPUTS = {"conditioning": ("CONDITIONING",), "name": ("STRING", {})}  # noqa: RUF012

    MORE = {  # noqa: RUF012
        "area": (8, 8, 0, 0), "mask": torch.ones(1, 16, 16), "start_percent": 0.5, "end_percent": 0.5,
        "concat_latent_image": torch.zeros(1, 4, 16, 16), "reference_latents": [torch.zeros(1, 4, 16, 16)],
    }  # fmt: skip

    def run(self, conditioning, name):
        return ([[context, {**options, name: self.MORE[name]}] for context, options in conditioning],)


class Flat(StandIn):
    """Empty Latent Image."""

    RETURN_TYPES = ("LATENT",)

    def run(self):
        return ({"samples": torch.zeros(1, 4, 16, 16)},)


class Mask(StandIn):
    RETURN_TYPES = ("MASK",)

    def run(self):
        mask = torch.ones(1, 16, 16)
        mask[..., :8] = 0
        return (mask,)


class Poison(StandIn):
    """A patch whose network gives NaN from some evaluation on."""

    RETURN_TYPES = ("MODEL",)
    INPUTS = {"model": ("MODEL",), "after": ("INT", {})}  # noqa: RUF012

    def run(self, model, after):
        model = model.clone()
        left = [after]

        def poisoned(apply_model, told):
            left[0] -= 1
            result = apply_model(told["input"], told["timestep"], **told["c"])
            return result if left[0] >= 0 else result * float("nan")

        model.set_model_unet_function_wrapper(poisoned)
        return (model,)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    for made in (Tiles, Told, Flat, Mask, Poison):
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, f"Test{made.__name__}", made)


def failure(run, graph):
    with pytest.raises(AssertionError) as caught:
        run(graph)
    message = str(caught.value)
    assert message.startswith("ValueError: ")
    return message


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *args, **kwargs: pytest.fail("something ran"))


def on(graph, name, kind, **inputs):
    """The graph with a node on the model of node ``name``."""
    graph[f"on {name}"] = node(kind, model=graph[name]["inputs"]["model"], **inputs)
    graph[name]["inputs"]["model"] = [f"on {name}", 0]
    return graph


def inverted(kind="MagicStyle_CSDI", **changes):
    """The noise of either inversion node."""
    graph = csdi(**changes) | {"keep": keep(["csdi", 2], "noise")}
    if kind == "MagicStyle_Invert":
        settings = {name: value for name, value in graph["csdi"]["inputs"].items() if name not in ("content", "style")}
        graph["csdi"] = node(kind, **settings, latent=["content", 0])
        graph["keep"] = keep(["csdi", 1], "noise")
    return graph


INVERSIONS = pytest.mark.parametrize("kind", ["MagicStyle_CSDI", "MagicStyle_Invert"])


@INVERSIONS
@pytest.mark.usefixtures("nothing_runs")
def test_a_noise_mask_is_not_dropped(run, kind):
    graph = inverted(kind) | {"mask": node("TestMask")}
    graph["masked"] = node("SetLatentNoiseMask", samples=["content", 0], mask=["mask", 0])
    for name in graph["csdi"]["inputs"]:
        if graph["csdi"]["inputs"][name] == ["content", 0]:
            graph["csdi"]["inputs"][name] = ["masked", 0]
    assert "has a noise mask" in failure(run, graph)


@INVERSIONS
@pytest.mark.usefixtures("nothing_runs")
def test_an_empty_latent_is_no_picture(run, kind):
    graph = inverted(kind) | {"content": node("TestFlat")}
    assert "holds one number everywhere" in failure(run, graph)


@INVERSIONS
def test_a_model_that_is_fused_is_not_inverted(run, kind):
    graph = inverted(kind) | {"again": inverted(kind)["csdi"], "ffa": ffa()}
    graph["csdi"] = csdi()["csdi"]
    graph["again"]["inputs"]["model"] = ["ffa", 0]
    graph["keep"] = keep(["again", 1], "x")
    assert "has an FFA Attention Patch already" in failure(run, graph)


@INVERSIONS
def test_inversion_sees_whole_pictures(run, kind):
    assert "tile by tile" in failure(run, on(inverted(kind), "csdi", "TestTiles"))


def test_tiles_are_refused_where_the_portrait_is_read_and_work_where_not(run):
    """Half of a latent of twice the width has by chance the grid of the bank."""
    graph = csdi() | {"wide": latent(4, width=32), "ffa": ffa(), "tiles": node("TestTiles", model=["ffa", 0])}
    graph |= custom(ddim(False, False, detail=0.0, color="none"), "tiles", ("wide", 0))
    assert "tile by tile" in failure(run, graph)
    graph["ffa"] = ffa(content=False, method="Visual Style Prompting")
    tiled = run(graph)["custom"]
    graph["custom"]["inputs"]["model"] = ["model", 0]
    assert error_of(tiled, run(graph)["custom"]) > 1e-3


@INVERSIONS
@pytest.mark.parametrize("name", ["area", "mask", "start_percent", "end_percent"])
@pytest.mark.usefixtures("nothing_runs")
def test_a_conditioning_of_a_part_inverts_nothing(run, kind, name):
    graph = inverted(kind) | {"text": node("TestPrompt", seed=1, tokens=77, width=64)}
    graph["told"] = node("TestTold", conditioning=["text", 0], name=name)
    graph["csdi"]["inputs"]["conditioning"] = ["told", 0]
    message = failure(run, graph)
    assert f"holds {name}" in message
    assert "for the whole picture and all of the time" in message


@pytest.mark.parametrize("name", ["concat_latent_image", "reference_latents"])
@pytest.mark.usefixtures("nothing_runs")
def test_what_belongs_to_one_picture_does_not_act_on_the_other(run, name):
    graph = inverted() | {"text": node("TestPrompt", seed=1, tokens=77, width=64)}
    graph["told"] = node("TestTold", conditioning=["text", 0], name=name)
    graph["csdi"]["inputs"]["conditioning"] = ["told", 0]
    for style in ({}, {"height": 24}):  # inverted together or one after the other
        graph["style"] = latent(2, **style)
        message = failure(run, graph)
        assert name in message
        assert "two DDIM Inversion nodes" in message


EULER = node("KSamplerSelect", sampler_name="euler")
SAMPLERS = pytest.mark.parametrize("sampler", [ddim(), EULER], ids=["ours", "euler"])


@SAMPLERS
def test_noise_is_not_added_to_noise(run, sampler):
    graph = csdi() | {"ffa": ffa()} | custom(sampler)
    graph["custom"]["inputs"]["add_noise"] = True
    assert "adds noise of its own" in failure(run, graph)


def test_noise_is_not_added_to_noise_without_a_patch_either(run):
    graph = csdi() | custom(ddim(), "model")
    graph["custom"]["inputs"]["add_noise"] = True
    assert "adds noise of its own" in failure(run, graph)


@SAMPLERS
@pytest.mark.parametrize("source", ["ffa", "model"])
def test_a_masked_inversion_keeps_no_noise_in_the_picture(run, sampler, source):
    if source == "model" and sampler["class_type"] == "KSamplerSelect":
        return  # nothing of ours is in this run
    graph = csdi() | {"ffa": ffa(), "mask": node("TestMask")} | custom(sampler, source, ("masked", 0))
    graph["masked"] = node("SetLatentNoiseMask", samples=["csdi", 2], mask=["mask", 0])
    assert "outside of it the noise itself would stay" in failure(run, graph)


def test_another_picture_of_the_same_size_is_named(executor, caplog):
    """A detailer's crop, by chance of the size of the portrait."""

    def told(picture):
        caplog.clear()
        graph = csdi() | {"ffa": ffa(), "other": latent(9)}
        graph |= custom(ddim(False, False, detail=0.0), latent=(picture, 0))
        graph["custom"]["inputs"]["add_noise"] = True
        executor.run(graph)
        return [line for line in caplog.messages if "does not look like the portrait" in line]

    assert len(told("other")) == 1
    assert not told("content")


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_of_the_schedule_is_said_for_what_it_is(run, caplog, part):
    caplog.set_level("INFO")
    graph = csdi() | {"ffa": ffa()} | custom(ddim(texture=0.5))
    graph["parts"] = node("SplitSigmas", sigmas=["sigmas", 0], step=3)
    graph["custom"]["inputs"]["sigmas"] = ["parts", part]
    if part == 0:
        assert "its schedule must end at 0" in failure(run, graph)
    else:
        graph["custom"]["inputs"]["latent_image"] = ["content", 0]
        run(graph)
        assert len([line for line in caplog.messages if "texture has no effect" in line]) == 1


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("name", ["csdi", "fff", "custom"])
def test_nan_ends_where_it_begins(executor, name, after):
    graph = full() | custom(node("KSamplerSelect", sampler_name="euler"))
    graph = on(graph, name, "TestPoison", after=after)
    for other in ("fff", "plain", "custom"):
        if other != name:
            graph.pop(other)
            graph = {key: value for key, value in graph.items() if value["inputs"].get("value") != [other, 0]}
    if name == "csdi":
        graph["keep"] = keep(["csdi", 2], "noise")
    message = failure(executor.run, graph)
    assert "NaN or infinite values at sigma" in message
    assert torch.isfinite(executor.run(full())["result"]["samples"]).all()


def test_attention_that_was_told_nothing_is_named(executor, monkeypatch):
    """Some packs call self-attention without what the host said, so that nothing is read of what FFA laid out."""
    attention, forward = comfy.ldm.modules.attention.CrossAttention, comfy.ldm.modules.attention.CrossAttention.forward

    def untold(self, x, context=None, value=None, mask=None, transformer_options=None):
        return forward(self, x, context, value, mask)

    graph = full({"strength": 0.5}, layers="output.3")
    monkeypatch.setattr(attention, "forward", untold)
    assert "another node" in failure(executor.run, graph).lower()


@pytest.mark.parametrize(
    ("scheduler", "v_prediction"),
    [*((name, True) for name in comfy.samplers.SCHEDULER_NAMES), ("linear_quadratic", False), ("ddim_uniform", False)],
)
def test_every_scheduler_of_the_host_comes_back_or_is_refused(run, scheduler, v_prediction):
    small = {"height": 8, "width": 8}
    loader = model(v_prediction=v_prediction)
    graph = csdi(content=small, style=small, scheduler=scheduler, steps=20, layers="none", loader=loader)
    kept = run(graph | {"plain": fff("model", style=False), "keep": keep(["plain", 0], "plain")})
    assert error_of(kept["plain"], kept["content"]) < 1e-4


@pytest.mark.parametrize("pooled", [None, 768])
@pytest.mark.usefixtures("nothing_runs")
def test_sdxl_is_told_by_its_own_text_encoders(run, pooled, monkeypatch):
    class Text(StandIn):
        RETURN_TYPES = ("CONDITIONING",)

        def run(self):
            return ([[torch.zeros(1, 77, 64), {} if pooled is None else {"pooled_output": torch.zeros(1, pooled)}]],)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestText", Text)
    graph = csdi(loader=model("SDXL")) | {"text": node("TestText"), "keep": keep(["csdi", 0], "x")}
    graph["csdi"]["inputs"]["conditioning"] = ["text", 0]
    message = failure(run, graph)
    assert "SDXL needs one of 1280" in message


def test_another_network_in_the_models_place_is_named(run, monkeypatch):
    class Swapped(StandIn):
        RETURN_TYPES = ("MODEL",)
        INPUTS = {"model": ("MODEL",)}  # noqa: RUF012

        def run(self, model):
            model = model.clone()
            model.add_object_patch("diffusion_model", torch.nn.Identity())
            return (model,)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestSwapped", Swapped)
    message = failure(run, on(inverted(), "csdi", "TestSwapped"))
    assert "put Identity in the place" in message
    assert "before that node" in message
