"""Banks as the inversion nodes make them, to be saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from denoisers import FINGERPRINT, UNetDenoiser, descending, gaussian, select, smooth_latent

from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.bank.storage import DiskWriter, MemoryWriter, RecomputedStore
from magicstyle_core.bank.trajectory import Trajectory
from magicstyle_core.fusion.attention import CapturePatch
from magicstyle_core.sampling.ddim import Exact, InversionMethod
from magicstyle_core.schedule import ascending


def record(
    model: UNetDenoiser,
    storage: str,
    dtype: torch.dtype,
    folder: Path,
    size: tuple[int, int] = (9, 7),
    batch: int = 2,
    method: InversionMethod | None = None,
    **plan: Any,
) -> FeatureBank:
    """A bank of four steps: trajectory in fp32, features in one of the stores."""
    kept = CapturePlan(select(model), ascending(descending(4)), dtype, **plan)
    writers = {
        "cpu": lambda _: MemoryWriter(),
        "disk": lambda _: DiskWriter(folder / "kept.safetensors", kept.layouts(batch, size)),
        "recompute": lambda _: RecomputedStore(gaussian((1, 5, 16), 3).float(), gaussian((1, 4), 4).half()),
    }
    recorder = FeatureRecorder(kept, (batch,), writers[storage])
    x = smooth_latent(*size, seed=20, batch=batch)
    way = (method or Exact())(model.patched(CapturePatch(recorder)), x, kept.sigmas)
    noise = None if way.noise is None else way.noise.float()
    way = Trajectory(way.sigmas.float(), way.latents.float(), noise, way.method)
    return recorder.publish(way, FINGERPRINT)[0]
