"""The stages in which the network learns to read prompts and to paint from noise.

`--text` prepares what the first batch needs, then runs one stage after the other; run it again to resume. Every stage
ends with a falling rate and leaves its averaged weights, from which the next begins; so do snapshots on the way.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from . import checkpoint
from .export import export, load
from .loop import Trainer
from .objectives import Painting
from .painter import painter_from, parts
from .plan import Plan
from .told import ToldPictures, held_out, prepare

DEMO = Path(__file__).resolve().parents[1]
NEXT, SMALL = DEMO / "next.safetensors", DEMO / "magicstyle_small.safetensors"  # where training begins, if it is there
FILES = 60  # of 500 faces each; one is drawn now and then while training goes on
FIRST_FILES = 12  # before it begins
STAGES = {
    "text64": Plan("text64", size=64, batch=24, steps=3000, rate=1.5e-3, warmup=100, settle=1200, cooldown=300, seed=5),
    "text128": Plan(
        "text128", size=128, batch=8, steps=40000, rate=1.2e-3, settle=800, cooldown=800, average=0.9995, seed=6
    ),
}


def trained(path: Path) -> tuple[dict[str, Tensor], list[dict]]:
    """Averaged weights of a checkpoint, and the record of the stages that led to them."""
    weights, metadata = checkpoint.read_tensors(path, "ema.")
    return weights, history(json.loads(metadata["progress"]))


def history(progress: dict[str, Any]) -> list[dict]:
    """The record of the stages so far, the present one included."""
    record = progress | progress["plan"]
    stage = {key: record[key] for key in ("name", "size", "batch", "step", "samples", "seed")}
    return [*progress["history"], stage]


def summary(stages: list[dict]) -> dict[str, Any]:
    """What a weights file says of its training."""
    record = {"size": stages[-1]["size"], "steps": sum(s["step"] for s in stages)}
    return record | {"samples": sum(s["samples"] for s in stages), "seed": stages[0]["seed"], "stages": stages}


def export_painter(folder: Path, path: Path) -> dict[str, Any]:
    """Write the averaged weights of the furthest stage in `folder`; returns the record."""
    furthest = next((p for p in (folder / f"{name}.safetensors" for name in reversed(STAGES)) if p.exists()), None)
    if furthest is None:
        raise SystemExit(f"No checkpoint of {', '.join(STAGES)} in {folder}; train first.")
    weights, stages = trained(furthest)
    unet, text = parts(weights)
    export(path, unet, load(folder / "start.safetensors")[1], summary(stages), text)
    return summary(stages)


def train_text(options: argparse.Namespace) -> None:
    """Run the stages that are not finished. `finish` lets the present one end after so many more steps."""
    folder, finish = options.folder, options.finish
    _adopt(folder, options.start)
    for name, plan in STAGES.items():
        if (folder / f"{name}.done").exists():
            continue
        prepare(folder, plan.size, FIRST_FILES)
        plan = dataclasses.replace(plan, batch=options.batch or plan.batch)
        trainer = _trainer(folder, plan, options.workers, options.device)
        if finish:
            last = trainer.progress["step"] + finish
            trainer.plan = dataclasses.replace(plan, steps=last, cooldown=finish)
        trainer.run(held_out(plan.size), options.minutes, snapshot=_snapshot)
        if trainer.progress["step"] < trainer.plan.steps:
            return  # out of time, or asked to stop
        (folder / f"{name}.done").touch()
        finish = 0


def _adopt(folder: Path, asked: Path | None) -> None:
    """Keep a copy of the file that training begins at: its codec stays, whatever happens to the file.

    Stages that the file has left behind are done.
    """
    start = asked or (NEXT if NEXT.exists() else SMALL)
    kept = folder / "start.safetensors"
    if kept.exists():
        if asked and kept.read_bytes() != start.read_bytes():
            raise SystemExit(f"Training in {folder} began at another file than {start}; take a new folder.")
        return
    stages = [stage["name"] for stage in load(start)[2]["stages"] if stage["name"] in STAGES]
    for name in list(STAGES)[: list(STAGES).index(stages[-1]) if stages else 0]:
        (folder / f"{name}.done").touch()
    kept.write_bytes(start.read_bytes())


def _trainer(folder: Path, plan: Plan, workers: int, device: str = "cpu") -> Trainer:
    """The trainer of a stage: resumed, or from the stage before, or from the weights file."""
    codec = load(folder / "start.safetensors")[1]
    trainer = Trainer(plan, folder, Painting(codec), ToldPictures(folder, plan.size, FILES), workers, device)
    if trainer.resume():
        return trainer
    before = list(STAGES)[: list(STAGES).index(plan.name)]
    done = [folder / f"{name}.safetensors" for name in before if (folder / f"{name}.safetensors").exists()]
    if done:
        trainer.start_from(*trained(done[-1]))
        return trainer
    state, record = painter_from(folder / "start.safetensors", plan.seed)
    stages = record["stages"]
    if stages[-1]["name"] == plan.name:  # go on where the file stops
        trainer.progress |= {key: stages[-1][key] for key in ("step", "samples")}
        stages = stages[:-1]
    trainer.start_from(state, stages)
    return trainer


def _snapshot(trainer: Trainer) -> None:
    """Keep the averaged weights of this step as a weights file."""
    where = trainer.folder / "snapshots"
    where.mkdir(exist_ok=True)
    stages = history(trainer.progress | {"plan": dataclasses.asdict(trainer.plan)})
    unet, text = parts(trainer.average.state_dict())
    path = where / f"{trainer.plan.name}_{trainer.progress['step']:06d}.safetensors"
    export(path, unet, trainer.objective.codec, summary(stages), text)
