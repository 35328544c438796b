"""Safetensors files, written tensor by tensor and read without loading them whole.

The library writes a file in one go from tensors that are all in memory; a bank is larger than that. The format
(huggingface/safetensors, "Format") is eight bytes with the length of a JSON header, the header with type, shape and
place of every tensor, and the numbers.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ..text import quoted

LARGEST_HEADER = 16 << 20  # bytes; a bank of ten thousand features has one of a million
_TYPES = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I8": torch.int8,
    "U8": torch.uint8, "I64": torch.int64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


class Slot(NamedTuple):
    """Type and shape of a tensor that a file will hold."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def data_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, as a file has them; on the CPU and in one piece they are not copied."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def name_of(dtype: torch.dtype) -> str:
    """The format's name of a number type; ``ValueError`` if it has none here."""
    if dtype not in _NAMES:
        raise ValueError(f"Numbers of type {dtype} cannot be put into a file. Use {', '.join(map(str, _NAMES))}.")
    return _NAMES[dtype]


def header_of(slots: Mapping[str, Slot], metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the header says of a file that holds these tensors and nothing else.

    Wide numbers come first, so that all lie at multiples of their own size.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, slot in sorted(slots.items(), key=lambda entry: -entry[1].dtype.itemsize):
        end = place + slot.bytes
        header[name] = {"dtype": name_of(slot.dtype), "shape": list(slot.shape), "data_offsets": [place, end]}
        place = end
    return header


def slot_of(entry: Mapping[str, Any]) -> Slot:
    """Type and shape in an entry of a header; ``KeyError`` if its type has no name here."""
    return Slot(_TYPES[entry["dtype"]], tuple(entry["shape"]))


class TensorFileWriter:
    """Writes a safetensors file whose tensors are known by type and shape; they may come in any order, and again.

    ``file`` is ``path``, opened for writing and unbuffered; None opens it. ``sums`` are CRC-32 of what was written.
    """

    def __init__(
        self,
        path: Path,
        slots: Mapping[str, Slot],
        metadata: Mapping[str, str] | None = None,
        file: IO[bytes] | None = None,
    ) -> None:
        self.path, self._slots = path, dict(slots)
        self.sums: dict[str, int] = {}
        header = header_of(slots, metadata)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # numbers begin at a multiple of eight
        self.header = len(text).to_bytes(8, "little") + text
        self._places = {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
        self._file = path.open("wb", buffering=0) if file is None else file
        try:
            self._put(0, memoryview(self.header))
            self._file.truncate(len(self.header) + sum(slot.bytes for slot in slots.values()))
        except BaseException:
            self.discard()
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Put a tensor in its place. ``ValueError`` if it is not what was announced."""
        slot = self._slots[name]
        if (tensor.dtype, tuple(tensor.shape)) != slot:
            raise ValueError(f"{name} was announced as {slot}, but is {tensor.dtype} {tuple(tensor.shape)}.")
        data = data_of(tensor)
        self._put(len(self.header) + self._places[name], data)
        self.sums[name] = zlib.crc32(data)

    def _put(self, place: int, data: memoryview) -> None:
        self._file.seek(place)
        while len(data):
            data = data[self._file.write(data) :]

    def sync(self) -> None:
        """Wait until all is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file, under the name that it was opened by."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class TensorFileReader:
    """Reads tensors of a safetensors file, each into memory of its own.

    Not by memory mapping: a map is gone when another process shortens the file, and with it the whole program.
    ``header`` is its bytes, ``entries`` and ``metadata`` what it says, of which nothing is trusted; ``size`` is how
    many bytes of numbers follow. ``ValueError`` if it cannot be read, here and later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            self._identity = _identity(file)
            first, rest = file.read(8), os.fstat(file.fileno()).st_size - 8
            length = int.from_bytes(first, "little")
            if not 2 <= length <= min(rest, LARGEST_HEADER):
                raise ValueError(f"its header should take {length} bytes; the file has {max(rest, 0)} for it")
            self.header = first + file.read(length)
        self.entries, self.size = json.loads(self.header[8:].decode()), rest - length
        if not isinstance(self.entries, dict):
            raise ValueError("its header is no JSON object")
        self.metadata = self.entries.pop("__metadata__", None)

    def get(self, name: str, checksum: int | None = None) -> Tensor:
        """A tensor whose entry was checked; ``ValueError`` if the file is another one, or has not this CRC-32 there.

        Size and time of a file do not tell all that was written to it: programs set them, clocks are coarse, and a map
        is written without them. Checking takes half as long as reading.
        """
        slot, (begin, end) = slot_of(self.entries[name]), self.entries[name]["data_offsets"]
        numbers = bytearray(end - begin)
        try:
            with self.path.open("rb", buffering=0) as file:
                if _identity(file) != self._identity:
                    raise ValueError(f"{quoted(self.path.name)} was changed or replaced meanwhile")
                file.seek(len(self.header) + begin)
                left = memoryview(numbers)
                while len(left) and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise ValueError(f"{quoted(self.path.name)} cannot be read: {error.strerror or error}") from error
        if len(left):
            raise ValueError(f"{quoted(self.path.name)} was shortened while it was read")
        if checksum is not None and zlib.crc32(numbers) != checksum:
            raise ValueError(f"tensor {name} is not as it was written")
        return torch.frombuffer(numbers, dtype=slot.dtype).view(slot.shape)


def _identity(file: IO[bytes]) -> tuple[int, int]:
    """What changes when somebody writes to a file and hides nothing; another name of it does not count."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns
