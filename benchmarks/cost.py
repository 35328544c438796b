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
            print(f"  {name:<44} {value:.3g}")


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
    from magicstyle.nodes.sampling import FusedSampler

    return FusedSampler.execute(model, content, 1.0, 1.0, color, 1.0, 0, style_bank=style).args[0]["samples"]


def fuse(model, content, style, strength=1.0, keys="style"):
    from magicstyle.nodes.fusion import FFAAttentionPatch

    return FFAAttentionPatch.execute(
        model, content, style, 0.8, 0.2, strength, 0.0, 1.0, keys, "stored", 1.0, "all", "all"
    ).args[0]


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
    half = fuse(model, content_bank, style_bank, 0.5)
    both = fuse(model, content_bank, style_bank, keys="content+style")
    fused = fuse(model, content_bank, style_bank)
    variants = {
        "plain": lambda: sample(model, content_bank),
        "fused": lambda: sample(fused, content_bank, style_bank),
        "fused, content+style keys": lambda: sample(both, content_bank, style_bank),
        "fused, strength 0.5": lambda: sample(half, content_bank, style_bank),
        # ddim inversion evaluates once a step; exact once more in all
        "inversion of two, no layers": lambda: invert(model, content, style, STEPS, "ddim", "none"),
        "inversion of two, all layers kept": lambda: invert(model, content, style, STEPS, "ddim"),
    }
    seconds = timed(variants)
    return {
        "fused step / plain step": seconds["fused"] / seconds["plain"],
        "fused step, content+style keys / plain step": seconds["fused, content+style keys"] / seconds["plain"],
        "fused step, strength 0.5 / plain step": seconds["fused, strength 0.5"] / seconds["plain"],
        "capture step / plain step, batch of two": seconds["inversion of two, all layers kept"]
        / seconds["inversion of two, no layers"],
        "seconds of a plain step": seconds["plain"] / STEPS,
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
