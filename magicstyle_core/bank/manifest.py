"""What a bank's file says of it: metadata beside the tensors, made of a bank and read back without trusting them.

Metadata of safetensors are strings; what is more than text is JSON. Shapes and number types stand in the header's own
entries and are not said again. Every entry is checked against the others before anything is allocated, so that a
manifest that was read describes a bank that could have been written. A check that fails raises ``ManifestError``, whose
text is the part of a sentence that says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..layers import BLOCKS, AttentionLayer, LayerKey
from ..text import plain
from .bank import FeatureBank, ModelFingerprint
from .features import PRECISIONS
from .storage import Layout, Place, RecomputedStore, layouts_of
from .tensor_file import Slot, slot_of

FORMAT, VERSION, FIRST = "magicstyle_bank", "2", "1"
THUMBNAIL = "modelspec.thumbnail"  # a picture as data URI under this name is shown by the host's model library
CHECKSUMS = "checksums"
TRAJECTORY, CONDITIONING = ("sigmas", "latents", "noise"), ("told.context", "told.pooled")

_ENTRIES = {FORMAT, "pack_version", "method", "model", "layers", "kept_for"}
_EARLIER = {"sigmas", "precision", "storage", "latent", "tensors", "hashes"}  # of the first version
_SMALL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # number types of trajectory and prompt
_PACKED = (*PRECISIONS.values(), torch.bfloat16)  # of features; bfloat16 in files of the first version
_LARGEST = 1 << 20  # of any side, width, count or number of steps
_LONGEST_TEXT = 400


class ManifestError(ValueError):
    """What a file says of its bank makes no sense."""


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise ManifestError(problem)


def small_tensors(bank: FeatureBank) -> dict[str, Tensor]:
    """Trajectory of a bank, and the conditioning of a recomputed one, by their names in a file."""
    way, store = bank.trajectory, bank.store
    prompt = (store.context, store.pooled) if isinstance(store, RecomputedStore) else (None, None)
    held = zip((*TRAJECTORY, *CONDITIONING), (way.sigmas, way.latents, way.noise, *prompt), strict=True)
    return {name: tensor for name, tensor in held if tensor is not None}


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bank besides the numbers.

    ``tensors`` are type and shape of :func:`small_tensors`, ``dtype`` the features' number type if any are kept.
    """

    model: ModelFingerprint
    method: str
    layers: tuple[AttentionLayer, ...]
    kept_for: Mapping[int, int]
    tensors: Mapping[str, Slot]
    dtype: torch.dtype | None
    pack_version: str = ""
    thumbnail: str = ""

    @classmethod
    def of(cls, bank: FeatureBank, pack_version: str, thumbnail: str) -> Manifest:
        tensors = {name: Slot(tensor.dtype, tuple(tensor.shape)) for name, tensor in small_tensors(bank).items()}
        known = (bank.model, bank.trajectory.method, bank.layers, bank.kept_for, tensors, bank.store.dtype)
        return cls(*known, pack_version, thumbnail)

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps whose features are in the file, ascending."""
        return () if self.dtype is None else tuple(sorted(set(self.kept_for.values())))

    def layouts(self) -> dict[Place, Layout]:
        """Shapes of the features in the file."""
        _, batch, _, height, width = self.tensors["latents"].shape
        return layouts_of(self.layers, self.kept, batch, (height, width), self.dtype or torch.float16)

    def slots(self) -> dict[str, Slot]:
        """All tensors of the file."""
        slots = dict(self.tensors)
        for place, layout in self.layouts().items():
            slots |= layout.slots(place)
        return slots | {CHECKSUMS: Slot(torch.int64, (1 + len(slots),))}

    def metadata(self) -> dict[str, str]:
        """As the header has it."""
        said = {
            FORMAT: VERSION,
            "pack_version": self.pack_version,
            "model": json.dumps(_said_of(self.model)),
            "method": self.method,
            "layers": json.dumps([(str(layer.key), layer.channels, layer.scale) for layer in self.layers]),
            "kept_for": json.dumps(sorted(self.kept_for.items())),
        }
        return said | ({THUMBNAIL: self.thumbnail} if self.thumbnail else {})

    @classmethod
    def parse(cls, said: Any, entries: Mapping[str, Any]) -> Manifest:
        """The manifest of a header: its metadata and its entries of tensors. ``ManifestError`` with what is wrong.

        What is read is written again and compared, so that nothing is taken for what it only resembles.
        """
        said = _known_version(said)
        tensors = _tensors(entries)
        try:
            layers = tuple(
                AttentionLayer(_key(key), int(width), int(scale)) for key, width, scale in json.loads(said["layers"])
            )
            kept_for = {int(step): int(kept) for step, kept in json.loads(said["kept_for"])}
            model = json.loads(said["model"])
            numbers = {name: int(model.pop(name)) for name in ("channels", "context", "layers")}
            fingerprint = ModelFingerprint(**numbers, **{name: str(value) for name, value in model.items()})  # type: ignore
        except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ManifestError(f"its description cannot be read ({plain(str(error))})") from error
        dtype = None
        if layers and kept_for and CONDITIONING[0] not in tensors:
            dtype = _slot(entries, str(Place(min(kept_for.values()), layers[0].key))).dtype
            require(dtype in _PACKED, f"its features are of type {dtype}, which is no precision")
        version, method, thumbnail = said["pack_version"], said["method"], said.get(THUMBNAIL, "")
        found = cls(fingerprint, method, layers, kept_for, tensors, dtype, version, thumbnail)
        again = {**found.metadata(), FORMAT: said[FORMAT]}
        require(all(said[name] == text for name, text in again.items()), "its description is not as banks have it")
        found._check(len(entries))
        return found

    def _check(self, tensors: int) -> None:
        """``ManifestError`` unless all that is said goes together, and is no more than so many tensors can hold."""
        require(len(self.layers) * len(self.kept) <= tensors, f"it has {tensors} tensors; its bank has more")
        known = asdict(self.model).values()
        texts = (self.method, self.pack_version, *(value for value in known if isinstance(value, str)))
        require(
            all(len(text) <= _LONGEST_TEXT and (text.isprintable() or not text) for text in texts),
            "a text in its description is too long, or holds what cannot be printed",
        )
        steps = self.tensors["sigmas"].shape[0] - 1
        numbers = [value for value in known if isinstance(value, int)]
        numbers += [number for layer in self.layers for number in layer[1:]]
        good = all(1 <= number <= _LARGEST for number in numbers) and len(self.layers) <= self.model.layers
        keys = {layer.key for layer in self.layers}
        require(good and len(keys) == len(self.layers), "its layers are not those of its model")
        good = all(1 <= step <= steps and self.kept_for.get(kept) == kept for step, kept in self.kept_for.items())
        require(good, "a step reads the features of a step that is not kept")


def _said_of(model: ModelFingerprint) -> dict[str, Any]:
    """What files say of a model; those of earlier versions do not know the last two entries."""
    return {name: value for name, value in asdict(model).items() if value or name not in ("precision", "patches")}


def _known_version(said: Any) -> dict[str, str]:
    """Metadata that are texts, of a version that is known, and nothing else."""
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ManifestError("it is no feature bank: its header has no text entries")
    version = said.get(FORMAT)
    require(version is not None, "it is no feature bank, but some other kind of safetensors file")
    require(
        version in (FIRST, VERSION),
        f"it has bank format '{plain(str(version), 20)}', this MagicStyle reads up to {VERSION}. "
        "Update MagicStyle to use it",
    )
    expected = _ENTRIES | (_EARLIER if version == FIRST else set())
    if odd := sorted(expected ^ (set(said) - {THUMBNAIL})):
        raise ManifestError(f"its entries are not those of a bank: {plain(', '.join(odd))} missing or unknown")
    return said


def _key(text: str) -> LayerKey:
    block, index, depth = text.split(".")
    require(block in BLOCKS, f"a layer is called '{plain(text, 40)}'")
    return LayerKey(block, int(index), int(depth))


def _slot(entries: Mapping[str, Any], name: str) -> Slot:
    """What the header says of a tensor's type and shape."""
    try:
        slot = slot_of(entries[name])
        good = all(type(side) is int and 1 <= side <= _LARGEST for side in slot.shape)
    except (KeyError, TypeError) as error:
        raise ManifestError(f"tensor {name} is missing, or has no type and shape that are known") from error
    require(good, f"tensor {name} has a shape that no bank has")
    return slot


def _tensors(entries: Mapping[str, Any]) -> dict[str, Slot]:
    """Trajectory, and the conditioning of a recomputed bank, with sides that fit together."""
    needed = {*TRAJECTORY[:2], *(CONDITIONING[:1] if CONDITIONING[1] in entries else ())}
    slots = {name: _slot(entries, name) for name in (*TRAJECTORY, *CONDITIONING) if name in entries or name in needed}
    latents = slots["latents"].shape
    require(len(latents) == 5 and latents[0] >= 2, f"its latents have shape {latents}; expected (N+1, B, C, H, W)")
    shapes = {"sigmas": latents[:1], "noise": latents[1:]}
    for name, slot in slots.items():
        good = slot.shape == shapes.get(name, slot.shape) and slot.dtype in _SMALL
        if name in CONDITIONING:
            good = good and len(slot.shape) == (3 if name == CONDITIONING[0] else 2) and slot.shape[0] == 1
        require(good, f"tensor {name} is {slot.dtype} {slot.shape}; expected {shapes.get(name, '(1, ...)')}")
    return slots
