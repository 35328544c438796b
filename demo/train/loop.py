"""The training loop: Muon and Adam, an averaged model, and checkpoints."""

from __future__ import annotations

import copy
import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from . import checkpoint
from .objectives import Objective, Work
from .plan import Plan, optimizers


class Source(Protocol):
    """Where batches come from."""

    def batch(self, count: int, generator: torch.Generator) -> Any:
        """`count` pictures, in the form that the objective takes; `generator` lives on the CPU."""
        ...

    def refresh(self) -> None:
        """Take up what is new."""
        ...


SNAPSHOT = 250  # steps between calls of `snapshot`


class Trainer:
    """Owns model, average, optimizers and the files of one stage in `folder`.

    On a CPU each of `workers` threads takes its part of every batch: on a busy machine that waits less than threads
    inside every operation. On a GPU one does, in bfloat16 where that is safe.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        objective: Objective,
        pictures: Source,
        workers: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.folder, self.objective, self.pictures = plan, folder, objective, pictures
        self.device = torch.device(device)
        workers = workers if self.device.type == "cpu" else 1
        torch.manual_seed(plan.seed)
        self.model = objective.network().to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.replicas = [self.model, *(_twin(self.model) for _ in range(workers - 1))]
        self.pool = ThreadPoolExecutor(workers)
        self.optimizers = optimizers(self.model, plan.rate, self.pool)
        self.progress = {"step": 0, "samples": 0, "seconds": 0.0, "cpu_seconds": 0.0, "history": []}
        self.path = folder / f"{plan.name}.safetensors"
        self.journal = folder / f"{plan.name}.jsonl"

    def resume(self) -> bool:
        """Continue from this stage's checkpoint; False if there is none."""
        if not self.path.exists():
            return False
        self.progress |= checkpoint.load_training(self.path, self.model, self.average, self.optimizers)
        return True

    def start_from(self, weights: dict[str, Tensor], history: list[dict]) -> None:
        """Start from another stage's averaged weights; `history` records the stages that led to them."""
        self.model.load_state_dict(weights)
        self.average.load_state_dict(weights)
        self.progress["history"] = history

    def step(self) -> tuple[float, float]:
        """One optimizer step; returns the loss and the gradient's norm."""
        plan, index = self.plan, self.progress["step"]
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + index)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = plan.learning_rate(index) * group["pace"]
        batch = self.pictures.batch(plan.batch, generator).to(self.device)
        loss = self._gradients(self.objective.work(batch, generator))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(plan.average, (index + 1) / (index + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1.0 - decay)
        self.progress["step"] += 1
        self.progress["samples"] += plan.batch
        return loss, float(norm)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu")

    def _gradients(self, work: Work) -> float:
        """Fill the model's gradients; every replica works on its part of the batch in its own thread."""
        count = len(self.replicas)

        def backward(index: int) -> float:
            self.replicas[index].zero_grad()
            with self._precision():
                weighted, plain = self.objective.losses(self.replicas[index], work.part(index, count))
            (weighted / count).backward()
            return float(plain) / count

        loss = sum(self.pool.map(backward, range(count)))
        for replica in self.replicas[1:]:
            for mine, theirs in zip(self.model.parameters(), replica.parameters(), strict=True):
                if theirs.grad is not None:  # cross-attention has none without prompts
                    mine.grad.add_(theirs.grad)
        return loss

    def run(
        self,
        held_out: Any,
        minutes: float,
        report_every: int = 50,
        save_minutes: float = 3.0,
        snapshot: Callable[[Trainer], None] | None = None,
    ) -> None:
        """Train until the plan's steps or `minutes` are over, logging and saving on the way.

        `held_out` is a batch, or several by the names under which the journal has them. `snapshot` is called every
        `SNAPSHOT` steps.
        """
        start = saved = time.monotonic()
        clocks = time.monotonic(), time.process_time()
        recent: list[float] = []
        asked_to_stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())  # finish the step and save
        while self.progress["step"] < self.plan.steps and time.monotonic() - start < minutes * 60:
            if asked_to_stop.is_set():
                break
            loss, norm = self.step()
            recent.append(loss)
            clocks = self._count_time(*clocks)
            if self.progress["step"] % report_every == 0:
                self._report(recent, norm, held_out if isinstance(held_out, Mapping) else {"held_out": held_out})
                self.pictures.refresh()
                recent = []
            if snapshot and self.progress["step"] % SNAPSHOT == 0:
                snapshot(self)
            if time.monotonic() - saved > save_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()

    def _count_time(self, wall: float, cpu: float) -> tuple[float, float]:
        """Add what has passed since; a paused process goes on by the clock, but not in CPU seconds."""
        now = time.monotonic(), time.process_time()
        self.progress["seconds"] += now[0] - wall
        self.progress["cpu_seconds"] += now[1] - cpu
        return now

    def save(self) -> None:
        """Write the checkpoint."""
        record = self.progress | {"plan": asdict(self.plan)}
        checkpoint.save_training(self.path, self.model, self.average, self.optimizers, record)

    def _report(self, recent: list[float], norm: float, held_out: Mapping[str, Any]) -> None:
        entry = {
            "step": self.progress["step"],
            "seconds": round(self.progress["seconds"], 1),
            "cpu_seconds": round(self.progress["cpu_seconds"], 1),
            "samples_per_second": round(self.progress["samples"] / self.progress["seconds"], 2),
            "loss": round(sum(recent) / len(recent), 5),
            "gradient": round(norm, 3),
        }
        if self.progress["step"] % 400 == 0:
            entry |= {name: round(self.held_out_loss(batch), 5) for name, batch in held_out.items()}
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @torch.no_grad()
    def held_out_loss(self, batch: Any) -> float:
        """Loss of the averaged model on a fixed batch with fixed noise."""
        generator = torch.Generator().manual_seed(99)
        work = self.objective.work(batch.to(self.device), generator)
        return float(self.objective.losses(self.average, work.part(0, 1))[1])


def _twin(model: nn.Module) -> nn.Module:
    """A copy with gradients of its own on the same weights."""
    twin = copy.deepcopy(model)
    for own, shared in zip(twin.parameters(), model.parameters(), strict=True):
        own.data = shared.data
    return twin
