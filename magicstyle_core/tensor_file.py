"""Safetensors files, written tensor by tensor and read without loading them whole.

The library writes a file in one go from tensors that are all in memory; a bank is larger than that. The format
(huggingface/safetensors, "Format") is eight bytes with the length of a JSON header, the header with type, shape and
place of every tensor, and the numbers.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_NAMES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.int64: "I64",
}


class Slot(NamedTuple):
    """Type and shape of a tensor that a file will hold."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFileWriter:
    """Writes a safetensors file whose tensors are known by type and shape; they may come in any order, and again."""

    def __init__(self, path: Path, slots: Mapping[str, Slot], metadata: Mapping[str, str] | None = None) -> None:
        self.path, self._slots = path, dict(slots)
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        place = 0
        for name, slot in self._slots.items():
            end = place + slot.bytes
            header[name] = {"dtype": _NAMES[slot.dtype], "shape": list(slot.shape), "data_offsets": [place, end]}
            place = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # numbers begin at a multiple of eight
        self._first = 8 + len(text)
        self._places = {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
        self._file = path.open("wb", buffering=0)
        try:
            self._file.write(len(text).to_bytes(8, "little") + text)
            self._file.truncate(self._first + place)
        except BaseException:
            self.discard()
            raise

    def write(self, name: str, tensor: Tensor) -> memoryview:
        """Put a tensor in its place; returns its bytes. ``ValueError`` if it is not what was announced."""
        slot = self._slots[name]
        if (tensor.dtype, tuple(tensor.shape)) != slot:
            raise ValueError(f"{name} was announced as {slot}, but is {tensor.dtype} {tuple(tensor.shape)}.")
        data = memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        self._file.seek(self._first + self._places[name])
        rest = data
        while len(rest):
            rest = rest[self._file.write(rest) :]
        return data

    def close(self, durable: bool = False) -> None:
        """Finish the file; ``durable`` waits until it is on the disk."""
        if durable:
            os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class TensorFileReader:
    """Reads tensors of a safetensors file by memory mapping, so that pages come from the disk when they are used.

    Tensors belong to numbered parts (steps). One part is mapped at a time: what a map has touched counts as memory of
    the process until the map is gone. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._stat()
        self._lock = threading.Lock()
        self._open: tuple[int, Any] | None = None
        with self._map() as file:
            self.metadata: dict[str, str] = dict(file.metadata() or {})
            self.names: frozenset[str] = frozenset(file.keys())

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise ValueError(f"{self.path.name} cannot be read: {error.strerror}.") from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _map(self) -> Any:
        if self._stat() != self._identity:
            raise ValueError(f"{self.path.name} was changed or replaced after it was loaded. Load the bank again.")
        try:
            return safe_open(str(self.path), framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.path.name} is damaged or no safetensors file ({error}).") from error

    def slots(self) -> dict[str, Slot]:
        """Type and shape of every tensor, from the header alone."""
        types = {name: dtype for dtype, name in _NAMES.items()}
        found = {}
        with self._map() as file:
            for name in self.names:
                entry = file.get_slice(name)
                if entry.get_dtype() not in types:
                    raise ValueError(f"{self.path.name}: tensor {name} has the unexpected type {entry.get_dtype()}.")
                found[name] = Slot(types[entry.get_dtype()], tuple(entry.get_shape()))
        return found

    def get(self, name: str, part: int = 0) -> Tensor:
        """A tensor that reads the file; keep it no longer than its part is needed."""
        with self._lock:
            if self._open is None or self._open[0] != part:
                self._open = None  # before the next: never two parts at once
                self._open = part, self._map()
            return self._open[1].get_tensor(name)

    def release(self) -> None:
        """Let go of the mapped part."""
        with self._lock:
            self._open = None
