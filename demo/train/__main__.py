"""Trains the demo model from nothing: renders pictures, fits the codec, trains small, then large.

python3 -m demo.train FOLDER                     # everything that a CPU can do; run it again to resume
python3 -m demo.train FOLDER --stage 128         # one stage only
python3 -m demo.train FOLDER --stage 128 --start FILE   # the same, from the weights and the codec of an exported file
python3 -m demo.train FOLDER --render cuda       # draws pictures on a GPU as they are needed
python3 -m demo.train FOLDER --export FILE       # weights file of the furthest stage so far

python3 -m demo.train FOLDER --text              # goes on from there with prompts: two stages; run it again to resume
python3 -m demo.train FOLDER --text --start FILE   # the same from an exported file, where its training stopped
python3 -m demo.train FOLDER --text --finish 300   # cool down and end the present stage
python3 -m demo.train FOLDER --text --export FILE

With a GPU, while `python3 -m demo.train.dataset FOLDER 256 120 --workers 14` draws pictures beside it:

python3 -m demo.train FOLDER --stage 256 --start demo/magicstyle_demo.safetensors --device cuda --minutes 9
python3 -m demo.train FOLDER --stage autoencoder --device cuda --minutes 5 --finish 1500
python3 -m demo.train FOLDER --stage stock --device cuda --minutes 9
python3 -m demo.train FOLDER --stage stock --export FILE   # a checkpoint for ComfyUI's own loader
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from ..codec import PatchCodec
from . import checkpoint, dataset, fitting
from .autoencoder import TinyAutoencoder
from .export import export, export_stock, load
from .loop import Trainer
from .objectives import Autoencoding, Denoising, Objective
from .pictures import Pictures, Rendered, as_images
from .plan import Plan
from .reading import export_painter, summary, train_text, trained
from .unet import STOCK

PLANS = {
    "64": Plan("stage64", size=64, batch=24, steps=3000, rate=2e-3, settle=800),
    "128": Plan("stage128", size=128, batch=8, steps=20000, rate=1.2e-3, settle=800, seed=1),
    "256": Plan("stage256", size=256, batch=96, steps=20000, rate=1.5e-3, settle=800, seed=2),
    "autoencoder": Plan("autoencoder", size=128, batch=64, steps=20000, rate=1e-3, settle=2000, seed=3),
    "stock": Plan("stock", size=256, batch=192, steps=20000, rate=1e-3, settle=2000, average=0.9995, seed=4),
}
OWN_STAGES = ("64", "128", "256")  # of one network, each from the weights of the one before
ON_A_CPU = ("64", "128")
PICTURES = {128: 24, 256: 4}  # files of 500 pictures by size


def codec(folder: Path) -> PatchCodec:
    """The patch codec, fitted once on rendered pictures and photographs."""
    path = folder / "codec.safetensors"
    if not path.exists():
        images = fitting.pictures(folder)
        fitted = fitting.with_decoder(PatchCodec.fit(images), images)
        checkpoint.write_tensors(path, fitted.state(), {})
    return PatchCodec.from_state(checkpoint.read_tensors(path)[0])


def autoencoder(folder: Path) -> TinyAutoencoder:
    """The trained autoencoder; its scale is measured once, on the first picture file, and kept."""
    path, model = folder / "vae.safetensors", TinyAutoencoder().requires_grad_(False)
    if path.exists():
        model.load_state_dict(checkpoint.read_tensors(path)[0])
        return model
    trained = folder / f"{PLANS['autoencoder'].name}.safetensors"
    if not trained.exists():
        raise SystemExit(f"No {trained.name} in {folder}; train the stage autoencoder first.")
    model.load_state_dict(checkpoint.read_tensors(trained, "ema.")[0])
    model.normalize(as_images(np.load(_pictures(folder, PLANS["stock"].size)[0][0])[:96]))
    checkpoint.write_tensors(path, model.state_dict(), {})
    return model


def held_out(size: int) -> torch.Tensor:
    """Pictures (48, 3, size, size) of unseen people in unseen styles, a third of them without style."""
    portraits, styled = dataset.held_out(32, size)
    return torch.from_numpy(np.stack(portraits[:16] + styled)).permute(0, 3, 1, 2)


def adopt_codec(folder: Path, start: Path) -> None:
    """Use the codec of a weights file from now on: its weights know no other latents."""
    checkpoint.write_tensors(folder / "codec.safetensors", load(start)[1].state(), {})


def _pictures(folder: Path, size: int) -> list[tuple[Path, float]]:
    """Files of pictures that are large enough; the larger ones twice as often."""
    sizes = [s for s in (128, 256) if s >= size]
    return [(path, 1.0 if s == 128 else 2.0) for s in sizes for path in dataset.finished(folder, s)]


def source(folder: Path, size: int, render: str | None, device: str) -> Pictures | Rendered:
    """Training pictures of `size`: drawn on the device `render`, else whatever files are ready."""
    return Rendered(size, render) if render else Pictures(lambda: _pictures(folder, size), size, device)


def objective(folder: Path, stage: str, device: str) -> Objective:
    """What a stage learns."""
    if stage == "autoencoder":
        return Autoencoding()
    if stage == "stock":
        return Denoising(autoencoder(folder).to(device), STOCK)
    return Denoising(codec(folder))


def train(options: argparse.Namespace, stage: str) -> None:
    """Run one stage; `finish` ends it after so many more steps.

    A stage of the own network without a checkpoint begins at `start` (a weights file), else at the checkpoint of the
    smaller stage.
    """
    folder, device = options.folder, options.device
    plan = dataclasses.replace(PLANS[stage], batch=options.batch or PLANS[stage].batch)
    pictures = source(folder, plan.size, options.render, device)
    trainer = Trainer(plan, folder, objective(folder, stage, device), pictures, options.workers, device)
    earlier = [folder / f"{PLANS[s].name}.safetensors" for s in reversed(OWN_STAGES[: _place(stage)])]
    smaller = next((path for path in earlier if path.exists()), None)
    if not trainer.resume():
        if options.start is not None:
            unet, _, record = load(options.start)
            trainer.start_from(unet.state_dict(), record["stages"])
        elif smaller is not None:
            trainer.start_from(*trained(smaller))
    if options.finish:
        last = trainer.progress["step"] + options.finish
        trainer.plan = dataclasses.replace(trainer.plan, steps=last, cooldown=options.finish)
    trainer.run(held_out(plan.size), options.minutes)


def _place(stage: str) -> int:
    """How many stages of the own network come before this one."""
    return OWN_STAGES.index(stage) if stage in OWN_STAGES else 0


def export_latest(folder: Path, stages: tuple[str, ...], path: Path) -> None:
    """Write the averaged weights of the furthest of `stages`, with a short record of its training."""
    ready = [folder / f"{PLANS[stage].name}.safetensors" for stage in reversed(stages)]
    furthest = next((p for p in ready if p.exists()), None)
    if furthest is None:
        raise SystemExit(f"No checkpoint of {', '.join(stages)} in {folder}; train first.")
    weights, history = trained(furthest)
    record = summary(history)
    if "stock" in stages:
        export_stock(path, weights, autoencoder(folder), record)
    else:
        export(path, weights, codec(folder), record)
    print(f"{path}: {json.dumps(record)}")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train", description="Train the demo model.")
    parser.add_argument("folder", type=Path, help="working folder: pictures, checkpoints, logs")
    parser.add_argument("--stage", choices=PLANS, help="train this stage only, on pictures so far")
    parser.add_argument("--text", action="store_true", help="learn to read prompts and to paint from noise")
    parser.add_argument("--start", type=Path, metavar="FILE", help="begin at this weights file")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time; run again to resume")
    parser.add_argument("--finish", type=int, default=0, metavar="STEPS", help="cool down to rate 0 and end")
    parser.add_argument("--workers", type=int, default=2, help="threads on a CPU, each with its part of the batch")
    parser.add_argument("--device", default="cpu", help="torch device that trains")
    parser.add_argument("--render", metavar="DEVICE", help="draw pictures on this torch device as they are needed")
    parser.add_argument("--batch", type=int, help="pictures per step, instead of the stage's own number")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the weights file and exit")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.device != "cpu":
        torch.set_float32_matmul_precision("high")
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.text:
        if options.export:
            print(f"{options.export}: {json.dumps(export_painter(options.folder, options.export))}")
        else:
            train_text(options)
        return
    if options.start:
        if options.stage not in OWN_STAGES:
            parser.error(f"--start needs --stage, one of {', '.join(OWN_STAGES)}")
        adopt_codec(options.folder, options.start)
    if options.export:
        export_latest(options.folder, ("stock",) if options.stage == "stock" else OWN_STAGES, options.export)
        return
    if options.stage is None and not options.render:
        for size, files in PICTURES.items():
            dataset.build(options.folder, size, files)
    for stage in [options.stage] if options.stage else ON_A_CPU:
        train(options, stage)


if __name__ == "__main__":
    main()
