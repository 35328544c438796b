"""Where there is room for a bank: what is free, pinned memory, and the temp folder."""

from __future__ import annotations

import logging
import shutil
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import comfy.model_management
import folder_paths
from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.bank.features import PackedFeature
from ...magicstyle_core.bank.recording import CapturePlan
from ...magicstyle_core.bank.storage import DiskWriter, FeatureWriter, MemoryWriter, Storage
from ...magicstyle_core.layers import LayerKey, LayerSelection
from . import host

log = logging.getLogger(__name__)


Tier = Literal["auto", "gpu", "cpu", "disk", "recompute"]


class Room(NamedTuple):
    """Free bytes of each kind of memory."""

    gpu: int
    cpu: int
    disk: int

    def __str__(self) -> str:
        return ", ".join(f"{readable(free)} ({name})" for name, free in zip(("GPU", "RAM", "disk"), self, strict=True))


# Of what is free, the share that `auto` may fill. Features on the GPU spare transfers that are hidden anyway, and
# later nodes need the room: only small banks go there.
AUTO_SHARES = {"gpu": 0.25, "cpu": 0.5, "disk": 0.9}
LARGEST_SHARE = 0.95


def choose_storage(tier: Tier, needed: int, free: Room) -> Storage | None:
    """Where ``needed`` bytes go: what ``tier`` says, or with auto the first that has room; None if there is none."""
    if tier == "recompute":
        return "recompute"
    shares = AUTO_SHARES if tier == "auto" else {tier: LARGEST_SHARE}
    fitting = (name for name, share in shares.items() if needed <= share * getattr(free, name))
    return next(fitting, None)  # type: ignore[return-value]


def readable(count: float) -> str:
    """Bytes as people write them: ``1.2 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def room(model: ModelPatcher) -> Room:
    """Free bytes; on the GPU what will be left when the model is loaded."""
    device = model.load_device
    gpu = 0
    if device.type != "cpu":
        waiting = max(0, model.model_size() - model.loaded_size())
        gpu = max(0, int(comfy.model_management.get_free_memory(device)) - waiting)
    cpu = int(comfy.model_management.get_free_memory(torch.device("cpu")))
    return Room(gpu, cpu, shutil.disk_usage(_existing(Path(folder_paths.get_temp_directory()))).free)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def choose(
    model: ModelPatcher, tier: Tier, plan: CapturePlan, batch: int, size: tuple[int, int], node: str | None
) -> Storage:
    """Where the features of ``batch`` images will be kept; logs what they will take and shows it on the node.

    ``ValueError`` if there is no room, with what would help.
    """
    if tier == "gpu" and model.load_device.type == "cpu":
        tier = "cpu"
    needed, free = plan.bytes(batch, size), room(model)
    storage = choose_storage(tier, needed, free)
    what = f"{plan.layers}, {len(plan.kept)} steps, {batch} {'picture' if batch == 1 else 'pictures'}"
    if storage is None:
        raise ValueError(
            f"Keeping features ({what}) needs {readable(needed)}; free are {free}. "
            f"Any of these takes less: {'; '.join(_smaller(plan, batch, size))}."
        )
    text = f"Keeping features: {what}, {readable(0 if storage == 'recompute' else needed)} ({storage})."
    log.info(text)
    host.show(text, node)
    return storage


def _smaller(plan: CapturePlan, batch: int, size: tuple[int, int]) -> list[str]:
    """Settings that take less memory, with what they take."""
    last = LayerSelection(plan.layers.layers[-3:])
    tries = [
        ("precision int8", replace(plan, dtype=torch.int8)),
        ("keep_every 3", replace(plan, every=3 * plan.every)),
        (f"layers '{last.layers[0].key.block}.{last.layers[0].key.index}-{last.layers[-1].key.index}'", replace(plan, layers=last)),
    ]
    return [f"{name} ({readable(changed.bytes(batch, size))})" for name, changed in tries] + ["storage recompute (nothing)"]


def new_writer(storage: Storage, plan: CapturePlan, batch: int, size: tuple[int, int], device: torch.device) -> FeatureWriter:
    """A writer for the features of ``batch`` images with latents of ``size``, captured on ``device``."""
    if storage == "disk":
        folder = Path(folder_paths.get_temp_directory())
        return DiskWriter(folder / f"magicstyle_{uuid.uuid4().hex}.safetensors", plan.layouts(batch, size))
    if storage == "gpu":
        return MemoryWriter()
    return MemoryWriter(torch.device("cpu"), PinnedMemory() if device.type == "cuda" else None)


class PinnedMemory:
    """Gives out memory that the GPU can copy from and to in the background, as far as the host allows it.

    The host counts what is pinned and wants it back before the memory goes. Pages are pinned whole, so small tensors,
    which share pages, are not.
    """

    SMALLEST = 1 << 20

    def __init__(self) -> None:
        self._pinned: list[Tensor] = []
        weakref.finalize(self, _unpin, self._pinned)

    def __call__(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        memory = torch.empty(shape, dtype=dtype)
        if memory.nbytes >= self.SMALLEST and comfy.model_management.pin_memory(memory):
            self._pinned.append(memory)
        return memory


def _unpin(pinned: list[Tensor]) -> None:
    while pinned:
        comfy.model_management.unpin_memory(pinned.pop())


class CudaTransfer:
    """Copies on a stream of their own. They overlap with computing only from pinned memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, features: Mapping[LayerKey, PackedFeature]) -> Any:
        with torch.cuda.stream(self._stream):
            moved = {key: feature.to(self._device) for key, feature in features.items()}
            return moved, self._stream.record_event()

    def finish(self, started: Any) -> Mapping[LayerKey, PackedFeature]:
        moved, done = started
        current = torch.cuda.current_stream(self._device)
        current.wait_event(done)
        for feature in moved.values():
            for tensor in feature.tensors:
                tensor.record_stream(current)  # so that its memory is not reused before this stream is done with it
        return moved
