"""Saving and loading a bank of 500 MB beside plain writing and reading of as many bytes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import torch
from _figures import Figure
from _timing import take_turns
from magicstyle.magicstyle_core.bank.bank import FeatureBank, ModelFingerprint
from magicstyle.magicstyle_core.bank.features import PackedFeature
from magicstyle.magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle.magicstyle_core.bank.storage import MemoryStore, Place
from magicstyle.magicstyle_core.bank.trajectory import Trajectory
from magicstyle.magicstyle_core.layers import AttentionLayer, LayerKey

BYTES = 500_000_000
SIDE = 64  # of the latent of a picture of 512 pixels
CHUNK = 1 << 24


def file_figures(folder: Path, rounds: int) -> list[Figure]:
    """Rates on the disk of ``folder``; nothing that is read is in the system's cache before."""
    bank = _bank()
    with tempfile.TemporaryDirectory(dir=folder) as made:
        saved, plain = Path(made) / "bank.safetensors", Path(made) / "plain"
        save_bank(bank, saved)
        size = saved.stat().st_size
        block = os.urandom(CHUNK)
        plain.touch()

        def write() -> None:  # under another name first, as saving does
            temporary = plain.with_suffix(".tmp")
            with temporary.open("wb", buffering=0) as file:
                for start in range(0, size, CHUNK):
                    file.write(block[: size - start])
                os.fsync(file.fileno())
            temporary.replace(plain)

        def save() -> None:
            saved.unlink()
            save_bank(bank, saved)

        def load() -> None:
            _forget(saved)
            loaded = load_bank(saved)
            for step in sorted(set(loaded.kept_for.values())):
                features = loaded.store.at(step)
                for layer in loaded.layers:
                    features[layer.key]

        variants = {"write": write, "save": save, "read": lambda: _read(plain), "load": load}
        times = take_turns(variants, rounds, time.perf_counter)
    rate = size / 1e6 / times.median("write"), size / 1e6 / times.median("read")
    return [
        Figure("bank of 500 MB", "saving / plain writing with fsync, rates", times.ratio("write", "save"), least=0.5),
        Figure("bank of 500 MB", "loading all features / plain reading, rates", times.ratio("read", "load"), least=0.5),
        Figure("disk", "plain writing with fsync", rate[0], unit=" MB/s"),
        Figure("disk", "plain reading, not from cache", rate[1], unit=" MB/s"),
    ]


def _bank() -> FeatureBank:
    """Random features of the SD 1.5 layout, as many steps as fill 500 MB in fp16."""
    layers = [AttentionLayer(LayerKey("output", index, 0), 640, 2) for index in (6, 7, 8)]
    layers += [AttentionLayer(LayerKey("output", index, 0), 320, 1) for index in (9, 10, 11)]
    packed = {}
    for layer in layers:
        grid = layer.grid(SIDE, SIDE)
        packed[layer.key] = PackedFeature(torch.randn(1, grid[0] * grid[1], layer.channels).half(), None, grid)
    steps = BYTES // sum(feature.values.nbytes for feature in packed.values())
    store = MemoryStore({Place(step, key): packed[key] for step in range(1, steps + 1) for key in packed})
    way = Trajectory(torch.linspace(0, 14, steps + 1), torch.randn(steps + 1, 1, 4, SIDE, SIDE))
    model = ModelFingerprint("SD15", "eps", 320, 768, 16)
    return FeatureBank(way, model, store, tuple(layers), {step: step for step in range(1, steps + 1)})


def _read(path: Path) -> None:
    _forget(path)
    block = bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _forget(path: Path) -> None:
    """Let the system drop what it holds of a file, which must be on the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
