"""Load Demo Model: the pack's own weights and codec through stock nodes."""

from pathlib import Path

import pytest
import torch
from companions import StandIn
from graphs import FFA, FFF, INVERSION, MATCHED, SAMPLER, error_of, fusion, keep, look, node
from PIL import Image

import nodes
from comfy.ldm.modules import attention
from demo.network import DEMO, Network
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.sampling.fff import Look

TILES = {"tile_size": 64, "overlap": 0, "temporal_size": 64, "temporal_overlap": 8}
KEPT = ("scale content", "scale style", "content", "plain", "fff", "image", "codec")
PORTRAITS = ("portrait_astronaut.jpg", "portrait_hopper.jpg")


@pytest.fixture(scope="module", autouse=True)
def _pictures(host):
    for picture in (Path(__file__).parents[2] / "assets").glob("*.jpg"):
        (host / "input" / picture.name).write_bytes(picture.read_bytes())


def demo(size=64, content=PORTRAITS[0], style=PORTRAITS[1], fused=FFA, sampling=FFF, **inversion):
    """The demo graph at another size, from LoadImage to VAE Decode."""
    graph = {"demo": node("MagicStyle_DemoModel")}
    for name, picture in (("content", content), ("style", style)):
        graph[f"load {name}"] = node("LoadImage", image=picture)
        graph[f"scale {name}"] = node(
            "ImageScale", image=[f"load {name}", 0], upscale_method="lanczos", width=size, height=size, crop="center"
        )
        graph[name] = node("VAEEncode", pixels=[f"scale {name}", 0], vae=["demo", 1])
    bank = {"content_bank": ["csdi", 0]}
    return graph | {
        "csdi": node(
            "MagicStyle_CSDI", model=["demo", 0], content=["content", 0], style=["style", 0],
            **{**INVERSION, **inversion},
        ),
        "ffa": node("MagicStyle_FFA", model=["demo", 0], **bank, style_bank=["csdi", 1], **fused),
        "fff": node("MagicStyle_FusedSampler", model=["ffa", 0], **bank, style_bank=["csdi", 1], **sampling),
        "plain": node("MagicStyle_FusedSampler", model=["demo", 0], **bank, **sampling),
        "image": node("VAEDecode", samples=["fff", 0], vae=["demo", 1]),
        "codec": node("VAEDecode", samples=["content", 0], vae=["demo", 1]),
        **{f"keep {name}": keep([name, 0], name) for name in KEPT},
    }  # fmt: skip


def test_the_demo_graph_from_picture_to_picture(run):
    kept = run(demo())
    assert kept["content"]["samples"].shape == (1, 16, 16, 16)
    assert error_of(kept["plain"], kept["content"]) < 1e-4
    assert error_of(kept["fff"], kept["content"]) > 0.1
    assert kept["image"].shape == (1, 64, 64, 3)
    assert 0 <= float(kept["image"].min())
    assert float(kept["image"].max()) <= 1


@pytest.mark.parametrize(
    ("rule", "dials", "changes"),
    [
        (FeatureFusion(), {}, {}),
        (FeatureFusion(0.6, 0.4, queries="matched"), MATCHED, {"color": "match", "texture": 0.75}),
    ],
    ids=["paper", "default"],
)
def test_plain_torch_gives_the_picture_of_the_nodes(run, rule, dials, changes):
    """What the truth benchmark measures without ComfyUI is what people get in it."""
    kept = run(demo(fused=fusion(**dials), sampling=look(**SAMPLER, **changes)))
    network = Network.load(DEMO)
    portrait, picture = (kept[f"scale {name}"].movedim(-1, 1) for name in ("content", "style"))
    content, style = network.invert(portrait, INVERSION["steps"]), network.invert(picture, INVERSION["steps"])
    image = network.stylize(
        content, [network.patch(rule, content, style)], style, Look(**{"color": "adain", "texture": 0.0, **changes})
    )
    assert float((image.movedim(1, -1) - kept["image"]).abs().max()) < 2e-3


@pytest.mark.parametrize("portrait", PORTRAITS)
def test_the_codec_keeps_photographs(run, portrait):
    kept = run(
        {
            k: v
            for k, v in demo(256, content=portrait).items()
            if k in ("demo", "load content", "scale content", "content", "codec", "keep codec", "keep scale content")
        }
    )
    error = (kept["codec"] - kept["scale content"]).square().mean()
    assert -10 * float(torch.log10(error)) > 32  # dB


def test_stock_samplers_and_tiled_codec_accept_it(run):
    graph = demo()
    graph |= {
        "zero": node("TestPrompt", seed=1, tokens=1, width=64),
        "stock": node(
            "KSampler", model=["demo", 0], seed=1, steps=2, cfg=2.0, sampler_name="euler", scheduler="normal",
            positive=["zero", 0], negative=["zero", 0], latent_image=["content", 0], denoise=0.5,
        ),
        "tiled": node("VAEEncodeTiled", pixels=["scale content", 0], vae=["demo", 1], **TILES),
        "back": node("VAEDecodeTiled", samples=["tiled", 0], vae=["demo", 1], **TILES),
        "keep stock": keep(["stock", 0], "stock"),
        "keep back": keep(["back", 0], "back"),
    }  # fmt: skip
    kept = run(graph)
    assert torch.isfinite(kept["stock"]["samples"]).all()
    assert torch.equal(kept["back"], kept["codec"])


class Without(StandIn):
    """The model with the host's own attention."""

    RETURN_TYPES, INPUTS = ("MODEL",), {"model": ("MODEL",)}

    def run(self, model):
        model = model.clone()
        del model.model_options["transformer_options"]["optimized_attention_override"]
        return (model,)


def test_attention_of_torch_gives_the_hosts_picture(executor, monkeypatch):
    """On the CPU, where the host's default takes twice as long, it is never asked."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "TestWithout", Without)
    graph = demo() | {"without": node("TestWithout", model=["demo", 0])}
    hosts = {name: dict(content, inputs=dict(content["inputs"])) for name, content in graph.items()}
    for name in ("csdi", "ffa", "plain"):
        hosts[name]["inputs"]["model"] = ["without", 0]
    theirs = executor.run(hosts)["image"]
    monkeypatch.setattr(attention, "efficient_dot_product_attention", lambda *args, **kwargs: pytest.fail("asked"))
    assert torch.allclose(executor.run(graph)["image"], theirs, atol=1e-4)


def test_a_picture_that_does_not_fill_patches_is_cropped(run, host):
    Image.new("RGB", (67, 70), "red").save(host / "input" / "odd.png")
    graph = {
        "demo": node("MagicStyle_DemoModel"),
        "load": node("LoadImage", image="odd.png"),
        "encode": node("VAEEncode", pixels=["load", 0], vae=["demo", 1]),
        "keep": keep(["encode", 0], "latent"),
    }
    assert run(graph)["latent"]["samples"].shape == (1, 16, 17, 16)


def test_previews_have_colours(pack, host):
    """The preview of an encoded picture resembles the picture, shrunk to latent size."""
    with torch.inference_mode():
        model, vae, _ = nodes.NODE_CLASS_MAPPINGS["MagicStyle_DemoModel"].execute().args
        picture = (
            torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(1))
            .repeat_interleave(8, 1)
            .repeat_interleave(8, 2)
        )
        latent = vae.encode(picture)[0].movedim(0, -1)
        factors = torch.tensor(model.model.latent_format.latent_rgb_factors)
        preview = (latent @ factors + torch.tensor(model.model.latent_format.latent_rgb_factors_bias) + 1) / 2
    small = torch.nn.functional.avg_pool2d(picture[0].movedim(-1, 0), 4).movedim(0, -1)
    assert (preview - small).abs().mean() < 0.05
