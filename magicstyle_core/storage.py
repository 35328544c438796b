"""Where features are kept: in memory of a device, in a file on disk, or nowhere.

A writer takes features while a picture is inverted and turns into a store when all are there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from .features import PackedFeature, size_of
from .layers import AttentionLayer, LayerKey
from .tensor_file import Slot, TensorFileReader, TensorFileWriter

Storage = Literal["gpu", "cpu", "disk", "live"]
Tier = Literal["auto", "gpu", "cpu", "disk", "live"]
Allocate = Callable[[torch.Size, torch.dtype], Tensor]


class Place(NamedTuple):
    """Step (1 to N) and layer of a feature."""

    step: int
    key: LayerKey

    def __str__(self) -> str:
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
    if tier == "live":
        return "live"
    shares = AUTO_SHARES if tier == "auto" else {tier: LARGEST_SHARE}
    fitting = (name for name, share in shares.items() if needed <= share * getattr(free, name))
    return next(fitting, None)  # type: ignore[return-value]


def readable(count: float) -> str:
    """Bytes as people write them: ``1.2 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class FeatureStore(Protocol):
    """Features by step and layer; never changes. ``bytes`` counts what it takes where ``storage`` says; ``dtype`` is
    None if it holds nothing."""

    @property
    def storage(self) -> Storage: ...

    @property
    def bytes(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype | None: ...

    def get(self, place: Place) -> PackedFeature: ...


class FeatureWriter(Protocol):
    """Collects features; what is put again is replaced. Ends with ``publish`` or ``discard``.

    Without ``keeps`` it need not be given any.
    """

    @property
    def keeps(self) -> bool: ...

    def put(self, place: Place, feature: PackedFeature) -> None: ...

    def publish(self) -> FeatureStore: ...

    def discard(self) -> None: ...


class MemoryStore:
    """Features as tensors; ``owner`` lives as long as they do."""

    def __init__(self, features: Mapping[Place, PackedFeature], owner: object = None) -> None:
        self._features = MappingProxyType(dict(features))
        self._owner = owner

    @property
    def storage(self) -> Storage:
        on_cpu = all(tensor.device.type == "cpu" for kept in self._features.values() for tensor in kept.tensors)
        return "cpu" if on_cpu else "gpu"

    @property
    def bytes(self) -> int:
        return sum(size_of(tensor) for kept in self._features.values() for tensor in kept.tensors)

    @property
    def dtype(self) -> torch.dtype | None:
        return next((kept.values.dtype for kept in self._features.values()), None)

    def get(self, place: Place) -> PackedFeature:
        return self._features[place]


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


@dataclass(frozen=True)
class LiveStore:
    """No features: whoever runs the network evaluates the pictures again at every step.

    ``context (1,L,D)`` and ``pooled (1,P)`` are what the network is told about them.
    """

    context: Tensor
    pooled: Tensor | None = None
    storage: Storage = "live"
    bytes: int = 0
    dtype: torch.dtype | None = None

    def get(self, place: Place) -> PackedFeature:
        raise ValueError(
            f"This bank keeps no features (storage live), and step {place.step} was not evaluated beside the running "
            "image. Sample through the FFA Attention Patch in ComfyUI, or invert with another storage."
        )


class LiveWriter:
    """Keeps nothing and publishes ``store``."""

    keeps = False

    def __init__(self, store: LiveStore) -> None:
        self._store = store

    def put(self, place: Place, feature: PackedFeature) -> None:
        pass

    def publish(self) -> LiveStore:
        return self._store

    def discard(self) -> None:
        pass


class FileStore:
    """Features in a file, read by memory mapping; the file stays."""

    storage: Storage = "disk"

    def __init__(self, file: TensorFileReader, layouts: Mapping[Place, Layout]) -> None:
        self._file, self._layouts = file, dict(layouts)

    @property
    def bytes(self) -> int:
        return layout_bytes(self._layouts)

    @property
    def dtype(self) -> torch.dtype | None:
        return next((layout.dtype for layout in self._layouts.values()), None)

    def get(self, place: Place) -> PackedFeature:
        layout = self._layouts[place]
        values, *scale = (self._file.get(name, place.step) for name in layout.slots(place))
        return PackedFeature(values, scale[0] if scale else None, layout.grid)


class DiskStore(FileStore):
    """Features in a file that is removed with the store."""

    def __init__(self, file: TensorFileReader, layouts: Mapping[Place, Layout]) -> None:
        super().__init__(file, layouts)
        weakref.finalize(self, _remove, file)


class DiskWriter:
    """Writes features to ``path`` as they come; in memory is one of them at a time."""

    keeps = True

    def __init__(self, path: Path, layouts: Mapping[Place, Layout]) -> None:
        self._layouts = dict(layouts)
        slots = {name: slot for place, layout in layouts.items() for name, slot in layout.slots(place).items()}
        self._file = TensorFileWriter(path, slots)

    def put(self, place: Place, feature: PackedFeature) -> None:
        layout = self._layouts[place]
        if feature.grid != layout.grid:
            raise ValueError(
                f"Layer {place.key} has {feature.grid[0]}x{feature.grid[1]} tokens, and on disk there is room for "
                f"{layout.grid[0]}x{layout.grid[1]}: another node changes the network's resolution "
                "(PatchModelAddDownscale). Invert with storage cpu."
            )
        for name, tensor in zip(layout.slots(place), feature.tensors, strict=True):
            self._file.write(name, tensor)

    def publish(self) -> DiskStore:
        self._file.close()
        return DiskStore(TensorFileReader(self._file.path), self._layouts)

    def discard(self) -> None:
        self._file.discard()


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


def _remove(file: TensorFileReader) -> None:
    file.release()
    file.path.unlink(missing_ok=True)
