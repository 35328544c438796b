"""What inversion and fusion cost on the demo model: errors, ratios of step times, and the size of banks.

Times are ratios between medians, all measured in this one process with the variants taking turns, so that a
busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

ROUNDS = 5
STEPS = 6  # of every timed run
SIZE = 128  # pixels, of timed runs and banks
SMALL = 64  # pixels, of reconstructions


def main(out: Path) -> None:
    from _host import load_pack

    load_pack()
    import torch

    with torch.inference_mode():
        report = {"reconstruction": reconstruction(), "ratios": ratios(), "banks": banks()}
    (out / "cost.json").write_text(json.dumps(report, indent=2) + "\n")
    for title, figures in report.items():
        print(f"\n{title}")
        for name, value in figures.items():
            print(f"  {name:<64} {value:.3g}")


def pictures(size=SIZE):
    """Portrait and style ``(1,16,h,w)`` as latents of the demo model, with the model."""
    import numpy as np
    import torch
    from magicstyle.nodes.demo_model import LoadDemoModel
    from PIL import Image

    assets = Path(__file__).resolve().parents[1] / "assets"
    model, vae = LoadDemoModel.execute().args

    def latent(name):
        picture = Image.open(assets / name).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        return {"samples": vae.encode(torch.from_numpy(np.array(picture)).float()[None] / 255)}

    return model, latent("portrait_astronaut.jpg"), latent("style_oil.jpg")


def invert(model, content, style, steps, method="exact", layers="all", iterations=1):
    from magicstyle.nodes.inversion import ContentStyleInversion

    return ContentStyleInversion.execute(
        model, content, style, steps, "ddim_uniform", method, layers, "cpu", "fp16", iterations
    ).args


def sample(model, content, style=None, color="adain"):
    from _host import defaults
    from magicstyle.nodes.sampling import FusedSampler

    settings = defaults(FusedSampler, color=color)
    return FusedSampler.execute(model, content, style_bank=style, **settings).args[0]["samples"]


def fuse(model, content, style, **changes):
    """The model with the patch at its defaults, but for `changes` and stored queries, which are the cheapest."""
    from _host import defaults
    from magicstyle.nodes.fusion import FFAAttentionPatch

    settings = defaults(FFAAttentionPatch, **{"queries": "stored", **changes})
    return FFAAttentionPatch.execute(model, content, style, **settings).args[0]


def reconstruction() -> dict[str, float]:
    """Relative error of the latent after inversion and the way back without style."""
    model, content, style = pictures(SMALL)
    errors = {}
    for steps in (20, 50):
        for method in ("ddim", "fixed_point", "exact"):
            bank, _, _ = invert(model, content, style, steps, method, layers="none")
            back = sample(model, bank)
            name = "fixed_point(1)" if method == "fixed_point" else method
            errors[f"{name}, {steps} steps"] = float((back - content["samples"]).norm() / content["samples"].norm())
    return errors


def ratios() -> dict[str, float]:
    model, content, style = pictures()
    content_bank, style_bank, _ = invert(model, content, style, STEPS)
    default = fuse(model, content_bank, style_bank, queries="matched")
    stored = fuse(model, content_bank, style_bank)
    half = fuse(model, content_bank, style_bank, strength=0.5)
    both = fuse(model, content_bank, style_bank, keys="content+style")
    plain, none, kept = "plain", "inversion of two, no layers", "inversion of two, all layers kept"
    fused = {
        "fused, default (matched queries, color match)": lambda: sample(default, content_bank, style_bank, "match"),
        "fused, stored queries": lambda: sample(stored, content_bank, style_bank),
        "fused, content+style keys": lambda: sample(both, content_bank, style_bank),
        "fused, strength 0.5": lambda: sample(half, content_bank, style_bank),
    }
    # ddim inversion evaluates once a step; exact once more in all
    seconds = timed(
        {
            plain: lambda: sample(model, content_bank),
            **fused,
            none: lambda: invert(model, content, style, STEPS, "ddim", "none"),
            kept: lambda: invert(model, content, style, STEPS, "ddim"),
        }
    )
    return {
        **{f"{name} step / plain step": seconds[name] / seconds[plain] for name in fused},
        "capture step / plain step, batch of two": seconds[kept] / seconds[none],
        "seconds of a plain step": seconds[plain] / STEPS,
    }


def timed(variants) -> dict[str, float]:
    """Median seconds of each variant over rounds in which they take turns; the first round warms up."""
    seconds = {name: [] for name in variants}
    for _ in range(ROUNDS + 1):
        for name, run in variants.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median(values[1:]) for name, values in seconds.items()}


def banks() -> dict[str, float]:
    """Megabytes of one image's features in fp16 at 20 steps."""
    import torch
    from magicstyle.magicstyle_core.bank import estimate_bytes
    from magicstyle.magicstyle_core.layers import AttentionLayer, LayerKey, LayerSelection

    model, content, style = pictures()
    kept, _, _ = invert(model, content, style, 20)
    sd15 = [(6 + i, 640, 2) for i in range(3)] + [(9 + i, 320, 1) for i in range(3)]
    layers = tuple(AttentionLayer(LayerKey("output", index, 0), channels, scale) for index, channels, scale in sd15)
    portrait = estimate_bytes(LayerSelection(layers), 20, 1, (64, 64), torch.float16)
    return {
        f"demo model, {SIZE} px, all layers, with trajectory": kept.bytes / 1e6,
        "SD 1.5, 512 px, output.6-11 (computed)": portrait / 1e6,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    main(parser.parse_args().out)
