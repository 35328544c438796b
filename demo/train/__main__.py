"""Trains the demo model from nothing: renders pictures, fits the codec, trains small, then large.

python3 -m demo.train FOLDER                     # everything; run it again to resume
python3 -m demo.train FOLDER --stage 128         # one stage only
python3 -m demo.train FOLDER --stage 128 --start FILE   # the same, from the weights and the codec of an exported file
python3 -m demo.train FOLDER --render cuda       # draws pictures on a GPU as they are needed
python3 -m demo.train FOLDER --export FILE       # weights file of the furthest stage so far
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from magicstyle_core.codec import PatchCodec

from . import checkpoint, dataset, natural
from .export import export, load
from .loop import Plan, Trainer
from .pictures import Pictures, Rendered, as_images

PLANS = {
    64: Plan("stage64", size=64, batch=24, steps=3000, rate=2e-3, settle=800),
    128: Plan("stage128", size=128, batch=8, steps=20000, rate=1.2e-3, settle=800, seed=1),
}
PICTURES = {128: 24, 256: 4}  # files of 500 pictures by size


def codec(folder: Path) -> PatchCodec:
    """The patch codec, fitted once on rendered pictures and photographs."""
    path = folder / "codec.safetensors"
    if not path.exists():
        dataset.build(folder, 128, 1)  # unless that file is there
        pictures = np.load(dataset.file_name(folder, 128, 0))[:400]
        r = np.random.default_rng(3)
        photos = natural.photographs(dataset.ASSETS)
        crops = np.stack([natural.photo_crop(photos, 128, r) for _ in range(120)])
        images = torch.cat([as_images(pictures), torch.from_numpy(crops).permute(0, 3, 1, 2)])
        checkpoint.write_tensors(path, PatchCodec.fit(images).state(), {})
    return PatchCodec.from_state(checkpoint.read_tensors(path)[0])


def held_out(size: int) -> torch.Tensor:
    """Pictures (48, 3, size, size) of unseen people in unseen styles, a third of them without style."""
    portraits, styled = dataset.held_out(32, size)
    return torch.from_numpy(np.stack(portraits[:16] + styled)).permute(0, 3, 1, 2)


def adopt_codec(folder: Path, start: Path) -> None:
    """Use the codec of a weights file from now on: its weights know no other latents."""
    checkpoint.write_tensors(folder / "codec.safetensors", load(start)[1].state(), {})


def source(folder: Path, size: int, render: str | None) -> Pictures | Rendered:
    """Training pictures of `size`: drawn on the device `render`, else whatever files are ready."""
    if render:
        return Rendered(size, render)
    files = [(path, 1.0) for path in dataset.finished(folder, 128)]
    files += [(path, 2.0) for path in dataset.finished(folder, 256)]
    return Pictures(files, size)


def train(
    folder: Path,
    stage: int,
    minutes: float,
    workers: int,
    finish: int = 0,
    start: Path | None = None,
    render: str | None = None,
) -> None:
    """Run one stage; `finish` ends it after so many more steps.

    A stage without a checkpoint begins at `start` (a weights file), else at the smaller stage's checkpoint.
    """
    trainer = Trainer(PLANS[stage], folder, codec(folder), source(folder, stage, render), workers)
    smaller = folder / f"{PLANS[64].name}.safetensors"
    if not trainer.resume():
        if start is not None:
            unet, _, record = load(start)
            trainer.start_from(unet.state_dict(), record["stages"])
        elif stage != 64 and smaller.exists():
            weights, metadata = checkpoint.read_tensors(smaller, "ema.")
            earlier = json.loads(metadata["progress"])
            trainer.start_from(weights, [*earlier["history"], _stage(earlier)])
    if finish:
        last = trainer.progress["step"] + finish
        trainer.plan = dataclasses.replace(trainer.plan, steps=last, cooldown=finish)
    trainer.run(held_out(stage), minutes)


def export_latest(folder: Path, path: Path) -> None:
    """Write the averaged weights of the furthest stage, with a short record of its training."""
    ready = [folder / f"{PLANS[size].name}.safetensors" for size in (128, 64)]
    source = next((p for p in ready if p.exists()), None)
    if source is None:
        raise SystemExit(f"No checkpoint in {folder}; train first.")
    weights, metadata = checkpoint.read_tensors(source, "ema.")
    progress = json.loads(metadata["progress"])
    stages = [*progress["history"], _stage(progress)]
    record = {"size": stages[-1]["size"], "steps": sum(s["step"] for s in stages)}
    record |= {"samples": sum(s["samples"] for s in stages), "seed": stages[0]["seed"], "stages": stages}
    export(path, weights, codec(folder), record)
    print(f"{path}: {json.dumps(record)}")


def _stage(progress: dict) -> dict:
    """The lines of a progress record that stay with the weights."""
    record = progress | progress["plan"]
    return {key: record[key] for key in ("name", "size", "batch", "step", "samples", "seed")}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train", description="Train the demo model.")
    parser.add_argument("folder", type=Path, help="working folder: pictures, checkpoints, logs")
    parser.add_argument("--stage", type=int, choices=sorted(PLANS), help="train this stage only, on pictures so far")
    parser.add_argument("--start", type=Path, metavar="FILE", help="begin the stage at this weights file")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time; run again to resume")
    parser.add_argument("--finish", type=int, default=0, metavar="STEPS", help="cool down to rate 0 and end")
    parser.add_argument("--workers", type=int, default=2, help="threads, each with its part of the batch")
    parser.add_argument("--render", metavar="DEVICE", help="draw pictures on this torch device as they are needed")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the weights file and exit")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.start:
        if options.stage is None:
            parser.error("--start needs --stage")
        adopt_codec(options.folder, options.start)
    if options.export:
        export_latest(options.folder, options.export)
        return
    if options.stage is None and not options.render:
        for size, files in PICTURES.items():
            dataset.build(options.folder, size, files)
    for stage in [options.stage] if options.stage else PLANS:
        train(options.folder, stage, options.minutes, options.workers, options.finish, options.start, options.render)


if __name__ == "__main__":
    main()
