"""Training state in one safetensors file, written atomically: an interruption costs minutes, not the file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

MEMORIES = ("step", "exp_avg", "exp_avg_sq", "velocity")  # names under which AdamW and Muon keep their state


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Save to a temporary name, then rename over `path`."""
    partial = path.with_suffix(".partial")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, str(partial), metadata)
    partial.chmod(0o644)
    os.replace(partial, path)


def read_tensors(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors whose name starts with `prefix` (removed from the name), and the file's metadata."""
    with safe_open(str(path), framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]
        tensors = {name[len(prefix) :]: file.get_tensor(name) for name in names}
        return tensors, dict(file.metadata() or {})


def save_training(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    progress: dict[str, Any],
) -> None:
    """Model, averaged model, what the optimizers remember, and the progress record (JSON)."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for memory, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{memory}.{name}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"progress": json.dumps(progress)})


def load_training(
    path: Path, model: nn.Module, average: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Any]:
    """Restore everything `save_training` wrote; returns the progress record."""
    tensors, metadata = read_tensors(path)
    model.load_state_dict(_part(tensors, "model."))
    average.load_state_dict(_part(tensors, "ema."))
    for optimizer in optimizers:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            for memory in MEMORIES if id(parameter) in owned else ():
                value = tensors.get(f"optimizer.{memory}.{name}")
                if value is not None:
                    like = parameter if value.shape == parameter.shape else value
                    optimizer.state[parameter][memory] = torch.empty_like(like).copy_(value)
    return json.loads(metadata["progress"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
