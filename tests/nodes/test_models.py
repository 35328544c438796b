"""Every layout of Stable Diffusion's UNet from inversion to picture, and by name those that are none."""

import pytest
import torch
from companions import record
from graphs import csdi, error_of, full, keep, model, node
from thin_models import CLASSES, FULL, REFUSED, build, patcher_of

import nodes
from comfy.model_base import ModelType

TO_ROUNDING = 1e-4
LAYOUTS = {
    "SD 1.5": {"layout": "SD15"},
    "SD 1.5, inpainting": {"layout": "SD15 inpainting"},
    "SD 2.1, v prediction": {"layout": "SD21", "v_prediction": True},
    "SD 2.0, eps": {"layout": "SD21"},
    "SD 2.0, inpainting": {"layout": "SD21 inpainting"},
    "SDXL base": {"layout": "SDXL"},
    "SDXL, v prediction": {"layout": "SDXL", "v_prediction": True},
    "SDXL, inpainting": {"layout": "SDXL inpainting"},
}


@pytest.fixture
def run(executor):
    """Without memory of other tests, whose stand-ins have the same names."""
    return executor.run


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_portrait_comes_back_and_is_styled(run, name):
    graph = full(loader=model(**LAYOUTS[name]))
    kept = run(graph)
    back, styled = error_of(kept["plain"], kept["content"]), error_of(kept["result"], kept["plain"])
    assert back < TO_ROUNDING
    assert styled > 1e-3
    record("Models", name, "thin", "works", f"portrait back to {back:.0e}, FFA {100 * styled:.2g} %")


@pytest.mark.parametrize("name", ["SD 1.5, inpainting", "SDXL, inpainting"])
def test_an_inpainting_model_may_be_told_what_to_paint(run, name, monkeypatch):
    """The portrait's picture and a mask ride along as InpaintModelConditioning gives them, both ways."""

    class Inpainted:
        RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "run", "test"

        @classmethod
        def INPUT_TYPES(cls):  # noqa: N802
            return {"required": {"conditioning": ("CONDITIONING",), "latent": ("LATENT",)}}

        def run(self, conditioning, latent):
            mask = torch.ones(1, 1, 128, 128)
            mask[..., :64] = 0
            extra = {"concat_latent_image": latent["samples"], "concat_mask": mask}
            return ([[context, {**options, **extra}] for context, options in conditioning],)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestInpainted", Inpainted)
    graph = full(loader=model(**LAYOUTS[name])) | {
        "text": node("TestPrompt", seed=1, tokens=77, width=64),
        "told": node("TestInpainted", conditioning=["text", 0], latent=["content", 0]),
    }
    told = {name: value for name, value in graph["csdi"]["inputs"].items() if name not in ("content", "style")}
    graph["csdi"]["inputs"]["conditioning"] = ["told", 0]
    with pytest.raises(AssertionError, match=r"belongs to one picture .*two DDIM Inversion nodes"):
        run(graph)
    del graph["csdi"]
    graph["portrait"] = node("MagicStyle_Invert", **told, latent=["content", 0], conditioning=["told", 0])
    graph["picture"] = node("MagicStyle_Invert", **told, latent=["style", 0])
    for name in ("ffa", "fff", "plain"):
        graph[name]["inputs"]["content_bank"] = ["portrait", 0]
    for name in ("ffa", "fff"):
        graph[name]["inputs"]["style_bank"] = ["picture", 0]
    for name in ("fff", "plain"):
        graph[name]["inputs"]["positive"] = ["told", 0]
    kept = run(graph)
    assert error_of(kept["plain"], kept["content"]) < TO_ROUNDING
    assert error_of(kept["result"], kept["plain"]) > 1e-3


@pytest.mark.parametrize(("name", "words"), [
    ("SDXL refiner", ("SDXL refiner", "last fifth", "base")),
    ("Playground 2.5", ("EDM", "SD 1.x, SD 2.x, SDXL")),
    ("SD3", ("SD3", "SD 1.x, SD 2.x, SDXL")),
    ("Flux", ("Flux", "SD 1.x, SD 2.x, SDXL")),
    ("PixArt (DiT)", ("PixArt", "SD 1.x, SD 2.x, SDXL")),
])  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(run, name, words, monkeypatch):
    class Other:
        RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"

        @classmethod
        def INPUT_TYPES(cls):  # noqa: N802
            return {"required": {}}

        def run(self):
            return (REFUSED[name](),)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestOther", Other)
    with pytest.raises(AssertionError) as error:
        run(csdi(loader=node("TestOther")) | {"keep": keep(["csdi", 0], "bank")})
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "Load" in message
    record("Models", name, "thin", "refused", f"names {words[0]}")


@pytest.mark.parametrize(
    ("name", "count", "presets"),
    [
        ("SD15", 16, {"all": 16, "decoder": 9, "high-res decoder": 6, "late decoder": 8, "full-res decoder": 3}),
        ("SD21", 16, {"all": 16, "decoder": 9, "high-res decoder": 6, "late decoder": 8, "full-res decoder": 3}),
        ("SDXL", 70, {"all": 70, "decoder": 36, "high-res decoder": 6, "late decoder": 36, "half-res decoder": 6}),
    ],
)
def test_layers_of_the_full_layouts(pack, name, count, presets):
    """Without weights: addresses, widths and token grids as they are, and what every preset chooses."""
    layers = pack("nodes.host.models").attention_layers(patcher_of(name, FULL[name], device="meta"))
    selection = pack("magicstyle_core.layers").LayerSelection
    assert len(layers) == count
    assert {preset: len(selection.parse(preset, layers)) for preset in presets} == presets
    widths = {"SD15": {1: 320, 2: 640, 4: 1280, 8: 1280}, "SDXL": {2: 640, 4: 1280}}
    assert all(layer.channels == widths.get(name, widths["SD15"])[layer.scale] for layer in layers)
    if name != "SDXL":
        chosen = [str(layer.key) for layer in selection.parse("high-res decoder", layers)]
        assert chosen == [f"output.{index}.0" for index in range(6, 12)]


@pytest.mark.slow  # seconds, and 4 GB
@pytest.mark.parametrize("name", ["SD15", "SD21"])
def test_a_full_layout_runs_once(run, name, monkeypatch):
    class Whole:
        RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "run", "test"

        @classmethod
        def INPUT_TYPES(cls):  # noqa: N802
            return {"required": {}}

        def run(self):
            return (build(name, config=FULL[name], v_prediction=name == "SD21"),)

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestWhole", Whole)
    size = {"height": 8, "width": 8}
    graph = full(content=size, style=size, loader=node("TestWhole"), steps=1)
    kept = run(graph)
    assert error_of(kept["plain"], kept["content"]) < 1e-3
    assert error_of(kept["result"], kept["plain"]) > 1e-4
    record("Models", name, "full size", "works")


def test_thin_layouts_are_of_the_kinds_that_they_stand_for():
    for layout, (_, config, _) in CLASSES.items():
        made = build(layout).model
        assert made.diffusion_model.in_channels == config["in_channels"]
        assert bool(made.concat_keys) == ("inpainting" in layout)
    assert build("SD21", v_prediction=True).model.model_type == ModelType.V_PREDICTION
