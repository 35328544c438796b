"""Feature banks as safetensors files: streamed out, read back piece by piece, and refused if anything is not as it was.

Besides trajectory and features a file holds ``checksums``: CRC-32 of the header and of every tensor, in the order of
the file. All that is in the header, and the trajectory, is checked when a file is loaded, before memory is taken; a
feature whenever it is read, so that nobody can change a file in use unnoticed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from ..text import plain, quoted
from . import leftovers
from .bank import FeatureBank
from .features import PackedFeature
from .manifest import CHECKSUMS, CONDITIONING, Manifest, ManifestError, require, small_tensors
from .storage import FeatureStore, FileStore, Layout, MemoryStore, Place, RecomputedStore
from .tensor_file import LARGEST_HEADER, TensorFileReader, TensorFileWriter, header_of
from .trajectory import Trajectory

AGAIN = "Choose another file, put this one back and run again, or save the bank again."


def save_bank(
    bank: FeatureBank,
    path: Path,
    *,
    otherwise: Iterable[Path] = (),
    pack_version: str = "",
    thumbnail: str = "",
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write ``bank`` to ``path``, or if that exists to the first free path of ``otherwise``, all in one folder.

    Returns the path. The file is there whole or not at all, and nobody else's is replaced, also if other programs save
    at the same time. In memory is one feature at a time. ``thumbnail`` is a data URI; ``on_tensor`` hears how many of
    how many features are written, and may raise. ``ValueError`` if no path is free, or if the bank cannot be written.
    """
    try:
        if otherwise == () and path.exists():
            raise FileExistsError  # at once
        _check_sigmas(bank.trajectory.sigmas)
        manifest = Manifest.of(bank, pack_version, thumbnail)
        # Read it back: nothing is saved that could not be loaded.
        Manifest.parse(manifest.metadata(), header_of(manifest.slots()))
        file, hidden = leftovers.create(path)
        writer = TensorFileWriter(hidden, manifest.slots(), manifest.metadata(), file)
        try:
            if len(writer.header) > LARGEST_HEADER:
                raise ManifestError(f"its header would take {len(writer.header)} bytes; keep fewer steps or layers")
            _write(writer, bank, manifest, on_tensor)
            writer.sync()
            leftovers.finish(file)
            return _publish(hidden, chain([path], otherwise))
        finally:
            writer.discard()
    except FileExistsError as error:
        raise _unsaved(path, "that file exists. Choose another name.") from error
    except OSError as error:
        raise _unsaved(path, f"{error.strerror or error}. Make room, or choose another folder.") from error
    except ManifestError as error:
        raise _unsaved(path, f"{error}. Invert the picture again.") from error


def _unsaved(path: Path, why: str) -> ValueError:
    return ValueError(f"The bank cannot be saved as {quoted(path.name)}: {why}")


def _write(
    writer: TensorFileWriter, bank: FeatureBank, manifest: Manifest, on_tensor: Callable[[int, int], None]
) -> None:
    def put(name: str, tensor: Tensor) -> None:
        _check_numbers(name, tensor)
        writer.write(name, tensor)

    for name, tensor in small_tensors(bank).items():
        put(name, tensor)
    layouts = manifest.layouts()
    for done, (place, layout) in enumerate(layouts.items()):
        on_tensor(done, len(layouts))
        packed = bank.store.at(place.step)[place.key]
        require(packed.grid == layout.grid, f"{place} has a grid of {packed.grid}; expected {layout.grid}")
        for name, tensor in zip(layout.slots(place), packed.tensors, strict=True):
            put(name, tensor)
    sums = (writer.sums[name] for name in _in_order(manifest))
    writer.write(CHECKSUMS, torch.tensor([zlib.crc32(writer.header), *sums]))


def _in_order(manifest: Manifest) -> list[str]:
    """Names of the tensors that have a checksum, as they lie in the file."""
    return [name for name in header_of(manifest.slots()) if name != CHECKSUMS]


def _publish(hidden: Path, paths: Iterable[Path]) -> Path:
    """Give a finished file the first name that is free, in one step; ``FileExistsError`` if none is."""
    for path in paths:
        try:
            os.link(hidden, path)  # unlike a renaming this never replaces
        except FileExistsError:
            if os.path.samefile(hidden, path):
                return path  # a server's answer was lost and the request sent again
        except OSError:
            if _moved(hidden, path):  # a file system without links
                return path
        else:
            return path
    raise FileExistsError


def _moved(hidden: Path, path: Path) -> bool:
    """Rename a file; False if the name is taken."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # a renaming would replace
    except FileExistsError:
        return False
    try:
        os.replace(hidden, path)
    except BaseException:
        path.unlink()
        raise
    return True


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
        small = {name: file.get(name, sums[name]) for name in manifest.tensors}
        for name, tensor in small.items():
            _check_numbers(name, tensor)
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
            store = BankFileStore(file, manifest.layouts(), sums)
        return FeatureBank(way, manifest.model, store, manifest.layers, manifest.kept_for, thumbnail)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error).rstrip(".")
        raise ValueError(f"The bank file {quoted(path.name)} cannot be used: {why}. {AGAIN}") from error


def _check_entries(file: TensorFileReader, manifest: Manifest) -> None:
    """``ManifestError`` unless a file has exactly the tensors of its bank, and as many bytes."""
    expected, given = header_of(manifest.slots()), file.entries
    for name in (*expected, *given):
        # As texts: to Python 1, 1.0 and True are equal.
        good = repr(given.get(name)) == repr(expected.get(name))
        require(good, f"tensor {name if name in expected else plain(name)} is not what its bank has there")
    whole = sum(slot.bytes for slot in manifest.slots().values())
    require(file.size == whole, f"it has {file.size} bytes of numbers; its bank has {whole}")


def _check_sigmas(sigmas: Tensor) -> None:
    require(float(sigmas[0]) == 0 and bool((sigmas.diff() > 0).all()), "its sigmas do not rise from 0")


def _check_numbers(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point():
        # Smallest and largest are NaN if any is; ten times as fast as asking every number.
        ends = torch.stack(torch.aminmax(tensor))
        require(bool(ends.isfinite().all()), f"tensor {name} holds NaN or infinite values")


class BankFileStore(FileStore):
    """Features in a bank's file."""

    def __init__(self, file: TensorFileReader, layouts: Mapping[Place, Layout], sums: Mapping[str, int]) -> None:
        super().__init__(file, layouts, sums)
        self._seen: set[Place] = set()

    def read(self, place: Place) -> PackedFeature:
        with _readable(self._file.path):
            packed = self._unchecked(place)
            if place not in self._seen:
                for name, tensor in zip(self._layouts[place].slots(place), packed.tensors, strict=True):
                    _check_numbers(name, tensor)
                self._seen.add(place)
        return packed
