"""Where features are kept: in memory of a device, in a file on disk, or nowhere.

A store gives features by step and layer and never changes; ``bytes`` counts what it takes where ``storage`` says, and
``dtype`` is None if it holds nothing. A writer takes features while a picture is inverted; what is put again is
replaced. It turns into a store by ``publish`` or ends with ``discard``, and need not be given any if it ``keeps``
nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ..layers import AttentionLayer, LayerKey
from ..text import shown
from .features import PackedFeature
from .tensor_file import Slot, TensorFileReader, TensorFileWriter

Storage = Literal["gpu", "cpu", "disk", "recompute"]
Kind = Literal["input"]  # the input of self-attention
Allocate = Callable[[torch.Size, torch.dtype], Tensor]


class Place(NamedTuple):
    """Step (1 to N) and layer of a feature, and which of the layer's tensors it is."""

    step: int
    key: LayerKey
    kind: Kind = "input"

    def __str__(self) -> str:
        """Its name in a file: other kinds than the first will follow the address."""
        return f"{self.step:04d}.{self.key}"


class Layout(NamedTuple):
    """Shape of one feature before anything was captured."""

    shape: tuple[int, int, int]  # (B, T, C)
    grid: tuple[int, int]
    dtype: torch.dtype

    def slots(self, place: Place) -> dict[str, Slot]:
        """The tensors that it takes in a file, by name."""
        values = {str(place): Slot(self.dtype, self.shape)}
        if self.dtype != torch.int8:
            return values
        return values | {f"{place}.scale": Slot(torch.float32, (*self.shape[:2], 1))}


class StepFeatures(Protocol):
    """Features of one step by layer, as they are stored."""

    def __getitem__(self, key: LayerKey, /) -> PackedFeature: ...


class MemoryStore:
    """Features as tensors; ``owner`` lives as long as they do."""

    def __init__(self, features: Mapping[Place, PackedFeature], owner: object = None) -> None:
        self._steps: dict[int, dict[LayerKey, PackedFeature]] = {}
        for place, feature in features.items():
            self._steps.setdefault(place.step, {})[place.key] = feature
        tensors = [tensor for feature in features.values() for tensor in feature.tensors]
        self.storage: Storage = "cpu" if all(tensor.device.type == "cpu" for tensor in tensors) else "gpu"
        self.bytes, self.dtype = sum(tensor.nbytes for tensor in tensors), tensors[0].dtype if tensors else None
        self._owner = owner

    def at(self, step: int) -> StepFeatures:
        return self._steps[step]


class MemoryWriter:
    """Keeps features on ``device``, or where they are if it is None.

    ``allocate`` gives the memory for tensors that come from another device (pinned memory, so that copies need not
    wait for each other).
    """

    keeps = True

    def __init__(self, device: torch.device | None = None, allocate: Allocate | None = None) -> None:
        self._device, self._allocate = device, allocate
        self._features: dict[Place, PackedFeature] = {}
        self._sources: set[torch.device] = set()

    def put(self, place: Place, feature: PackedFeature) -> None:
        values = self._kept(feature.values)
        scale = None if feature.scale is None else self._kept(feature.scale)
        self._features[place] = PackedFeature(values, scale, feature.grid)

    def _kept(self, tensor: Tensor) -> Tensor:
        if self._device is None or tensor.device.type == self._device.type:
            return tensor  # packed tensors have memory of their own
        if self._allocate is None:
            return tensor.to(self._device)
        self._sources.add(tensor.device)
        return self._allocate(tensor.shape, tensor.dtype).copy_(tensor, non_blocking=True)

    def publish(self) -> MemoryStore:
        for device in self._sources:
            torch.cuda.synchronize(device)  # copies that did not wait are complete from here on
        return MemoryStore(self._features, self._allocate)

    def discard(self) -> None:
        self._features.clear()


@dataclass(eq=False)
class RecomputedStore:
    """No features: whoever runs the network evaluates the pictures again at every step. It is its own writer.

    ``context (1,L,D)`` and ``pooled (1,P)`` are their conditioning.
    """

    context: Tensor
    pooled: Tensor | None = None
    storage: Storage = "recompute"
    bytes: int = 0
    dtype: torch.dtype | None = None
    keeps: bool = False

    def at(self, step: int) -> StepFeatures:
        raise ValueError(
            f"This bank keeps no features (storage recompute), and step {step} was not evaluated beside the running "
            "image. Sample through the FFA Attention Patch in ComfyUI, or invert with another storage."
        )

    def put(self, place: Place, feature: PackedFeature) -> None:
        pass

    def publish(self) -> RecomputedStore:
        return self

    def discard(self) -> None:
        pass


class FileStore:
    """Features in a file, each read when it is asked for, and compared with ``sums``, CRC-32 of every tensor."""

    def __init__(self, file: TensorFileReader, layouts: Mapping[Place, Layout], sums: Mapping[str, int]) -> None:
        self._file, self._layouts, self._sums = file, dict(layouts), dict(sums)
        self.storage: Storage = "disk"
        self.bytes = layout_bytes(layouts)
        self.dtype = next((layout.dtype for layout in layouts.values()), None)

    def at(self, step: int) -> StepFeatures:
        return _StepOfFile(self, step)

    def read(self, place: Place) -> PackedFeature:
        """A feature; ``ValueError`` if the file is gone, or not as it was written."""
        try:
            return self._unchecked(place)
        except ValueError as error:
            raise ValueError(
                f"Features that were kept on disk are lost: {error}. Change a setting of the inversion, such as "
                "storage, so that it runs again."
            ) from error

    def _unchecked(self, place: Place) -> PackedFeature:
        layout = self._layouts[place]
        values, *scale = (self._file.get(name, self._sums[name]) for name in layout.slots(place))
        return PackedFeature(values, scale[0] if scale else None, layout.grid)


@dataclass(frozen=True)
class _StepOfFile:
    store: FileStore
    step: int

    def __getitem__(self, key: LayerKey) -> PackedFeature:
        return self.store.read(Place(self.step, key))


class DiskWriter:
    """Writes features to ``path`` as they come; in memory is one of them at a time. ``ValueError`` if it cannot."""

    keeps = True

    def __init__(self, path: Path, layouts: Mapping[Place, Layout]) -> None:
        self._path, self._layouts = path, dict(layouts)
        slots = {name: slot for place, layout in layouts.items() for name, slot in layout.slots(place).items()}
        with self._in_words():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = TensorFileWriter(path, slots)

    def put(self, place: Place, feature: PackedFeature) -> None:
        layout = self._layouts[place]
        if feature.grid != layout.grid:
            raise ValueError(
                f"Layer {place.key} has {feature.grid[0]}x{feature.grid[1]} tokens, and on disk there is room for "
                f"{layout.grid[0]}x{layout.grid[1]}: another node changes the network's resolution "
                "(PatchModelAddDownscale). Invert with storage cpu."
            )
        with self._in_words():
            for name, tensor in zip(layout.slots(place), feature.tensors, strict=True):
                self._file.write(name, tensor)

    def publish(self) -> FileStore:
        """The file goes when the store does."""
        with self._in_words():
            self._file.close()
            store = FileStore(TensorFileReader(self._path), self._layouts, self._file.sums)
        weakref.finalize(store, _remove, self._path)
        return store

    def discard(self) -> None:
        self._file.discard()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"Features cannot be kept in {shown(self._path.parent)}: {error.strerror or error}. Make room there, "
                "or invert with another storage, such as cpu or recompute, or with precision int8."
            ) from error


def _remove(path: Path) -> None:
    with suppress(OSError):  # whoever cleared the folder was faster; the host clears what is left when it starts
        path.unlink()


FeatureStore = MemoryStore | FileStore | RecomputedStore
FeatureWriter = MemoryWriter | DiskWriter | RecomputedStore


def layouts_of(
    layers: Iterable[AttentionLayer], steps: Iterable[int], batch: int, size: tuple[int, int], dtype: torch.dtype
) -> dict[Place, Layout]:
    """Shapes of the features of ``batch`` images with latents of ``size (H, W)``, in the order of capture."""
    grids = [(layer, layer.grid(*size)) for layer in layers]
    return {
        Place(step, layer.key): Layout((batch, grid[0] * grid[1], layer.channels), grid, dtype)
        for step in steps
        for layer, grid in grids
    }


def layout_bytes(layouts: Mapping[Place, Layout]) -> int:
    """What features of these shapes take."""
    return sum(slot.bytes for place, layout in layouts.items() for slot in layout.slots(place).values())
