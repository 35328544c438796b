"""Feature banks as safetensors files: streamed out, read back piece by piece, and refused if anything is not as it was.

Besides trajectory and features a file holds ``checksums``: CRC-32 of the header and of every tensor, in the order of
the file. All that is in the header, and the trajectory, is checked when a file is loaded, before memory is taken; a
feature when it is first read.
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from .bank import FeatureBank
from .features import PackedFeature
from .manifest import CHECKSUMS, CONDITIONING, Manifest, ManifestError, require, small_tensors
from .storage import FeatureStore, FileStore, Layout, MemoryStore, Place, RecomputedStore
from .tensor_file import LARGEST_HEADER, TensorFileReader, TensorFileWriter, data_of, header_of
from .trajectory import Trajectory

AGAIN = "Choose another file, or save the bank again."


def save_bank(
    bank: FeatureBank,
    path: Path,
    *,
    pack_version: str = "",
    thumbnail: str = "",
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write ``bank`` to ``path``; the file is there whole or not at all. In memory is one feature at a time.

    ``thumbnail`` is a data URI; ``on_tensor`` hears how many of how many features are written, and may raise.
    ``ValueError`` if ``path`` exists, or if the bank cannot be written.
    """
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        if path.exists():
            raise FileExistsError
        _check_sigmas(bank.trajectory.sigmas)
        manifest = Manifest.of(bank, pack_version, thumbnail)
        # Read it back: nothing is saved that could not be loaded.
        Manifest.parse(manifest.metadata(), header_of(manifest.slots()))
        writer = TensorFileWriter(temporary, manifest.slots(), manifest.metadata())
        try:
            if len(writer.header) > LARGEST_HEADER:
                raise ManifestError(f"its header would take {len(writer.header)} bytes; keep fewer steps or layers")
            _write(writer, bank, manifest, on_tensor)
            writer.close(durable=True)
            _publish(temporary, path)
        except BaseException:
            writer.discard()
            raise
    except FileExistsError as error:
        raise _unsaved(path, "that file exists. Choose another name.") from error
    except OSError as error:
        raise _unsaved(path, f"{error.strerror}. Make room, or choose another folder.") from error
    except ManifestError as error:
        raise _unsaved(path, f"{error}. Invert the picture again.") from error


def _unsaved(path: Path, why: str) -> ValueError:
    return ValueError(f"The bank cannot be saved as '{path.name}': {why}")


def _write(
    writer: TensorFileWriter, bank: FeatureBank, manifest: Manifest, on_tensor: Callable[[int, int], None]
) -> None:
    sums: dict[str, int] = {}

    def put(name: str, tensor: Tensor) -> None:
        _check_numbers(name, tensor)
        sums[name] = zlib.crc32(writer.write(name, tensor))

    for name, tensor in small_tensors(bank).items():
        put(name, tensor)
    layouts = manifest.layouts()
    for done, (place, layout) in enumerate(layouts.items()):
        on_tensor(done, len(layouts))
        packed = bank.store.at(place.step)[place.key]
        require(packed.grid == layout.grid, f"{place} has a grid of {packed.grid}; expected {layout.grid}")
        for name, tensor in zip(layout.slots(place), packed.tensors, strict=True):
            put(name, tensor)
    writer.write(CHECKSUMS, torch.tensor([zlib.crc32(writer.header), *(sums[name] for name in _in_order(manifest))]))


def _in_order(manifest: Manifest) -> list[str]:
    """Names of the tensors that have a checksum, as they lie in the file."""
    return [name for name in header_of(manifest.slots()) if name != CHECKSUMS]


def _publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name, in one step; ``FileExistsError`` if somebody else took it."""
    try:
        os.link(temporary, path)  # unlike a renaming this never replaces
    except OSError:
        if path.exists():
            raise FileExistsError from None
        os.replace(temporary, path)  # a file system without links
    else:
        temporary.unlink()


def load_bank(path: Path, picture: Callable[[str], Tensor | None] = lambda thumbnail: None) -> FeatureBank:
    """The bank in a file, which features are read from as they are needed: the file must stay as it is.

    ``picture`` makes the bank's thumbnail of its data URI. ``ValueError`` if the file is not what ``save_bank`` wrote.
    """
    with _readable(path):
        file = TensorFileReader(path)
        manifest = Manifest.parse(file.metadata, file.entries)
        _check_entries(file, manifest)
        own, *rest = file.get(CHECKSUMS).tolist()
        require(own == zlib.crc32(file.header), "its header was altered")
        sums = dict(zip(_in_order(manifest), rest, strict=True))
        small = {name: _checked(name, file.get(name), sums[name]) for name in manifest.tensors}
        way = Trajectory(small["sigmas"], small["latents"], small.get("noise"), manifest.method)
        _check_sigmas(way.sigmas)
        try:
            thumbnail = picture(manifest.thumbnail) if manifest.thumbnail else None
        except ValueError as error:
            raise ManifestError(f"its thumbnail cannot be read ({error})") from error
        store: FeatureStore = MemoryStore({})
        if CONDITIONING[0] in small:
            store = RecomputedStore(small[CONDITIONING[0]], small.get(CONDITIONING[1]))
        elif manifest.kept:
            store = CheckedStore(file, manifest.layouts(), sums)
        return FeatureBank(way, manifest.model, store, manifest.layers, manifest.kept_for, thumbnail)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise ValueError(f"The bank file '{path.name}' cannot be used: {why}. {AGAIN}") from error


def _check_entries(file: TensorFileReader, manifest: Manifest) -> None:
    """``ManifestError`` unless a file has exactly the tensors of its bank, and as many bytes."""
    expected, given = header_of(manifest.slots()), file.entries
    for name in (*expected, *given):
        # As texts: to Python 1, 1.0 and True are equal.
        require(repr(given.get(name)) == repr(expected.get(name)), f"tensor {name[:40]} is not what its bank has there")
    whole = sum(slot.bytes for slot in manifest.slots().values())
    require(file.size == whole, f"it has {file.size} bytes of numbers; its bank has {whole}")


def _checked(name: str, tensor: Tensor, checksum: int) -> Tensor:
    """``ManifestError`` unless a tensor is as it was written."""
    require(zlib.crc32(data_of(tensor)) == checksum, f"tensor {name} is not as it was written")
    _check_numbers(name, tensor)
    return tensor


def _check_sigmas(sigmas: Tensor) -> None:
    require(float(sigmas[0]) == 0 and bool((sigmas.diff() > 0).all()), "its sigmas do not rise from 0")


def _check_numbers(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point():
        # Smallest and largest are NaN if any is; ten times as fast as asking every number.
        ends = torch.stack(torch.aminmax(tensor))
        require(bool(ends.isfinite().all()), f"tensor {name} holds NaN or infinite values")


class CheckedStore(FileStore):
    """Features in a bank's file; each is checked when it is first read."""

    def __init__(self, file: TensorFileReader, layouts: Mapping[Place, Layout], sums: Mapping[str, int]) -> None:
        super().__init__(file, layouts)
        self._sums = dict(sums)
        self._checked: set[Place] = set()

    def read(self, place: Place) -> PackedFeature:
        with _readable(self._file.path):
            packed = super().read(place)
            if place not in self._checked:
                for name, tensor in zip(self._layouts[place].slots(place), packed.tensors, strict=True):
                    _checked(name, tensor, self._sums[name])
                self._checked.add(place)
        return packed
