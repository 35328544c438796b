"""What a bank's file says of it: metadata beside the tensors, made of a bank and read back without trusting them.

Metadata of safetensors are strings; what is more than text is JSON. Shapes and number types stand in the header's own
entries and are not said again. Every entry is checked against the others before anything is allocated, so that a
manifest that was read describes a bank that could have been written. A check that fails raises ``ManifestError``, whose
text is the part of a sentence that says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..layers import BLOCKS, AttentionLayer, LayerKey
from .bank import FeatureBank, ModelFingerprint
from .features import PRECISIONS
from .storage import Layout, Place, RecomputedStore, layouts_of
from .tensor_file import Slot, slot_of, strict_json

FORMAT, VERSION, FIRST = "magicstyle_bank", "2", "1"
THUMBNAIL = "modelspec.thumbnail"  # a picture as data URI under this name is shown by the host's model library
CHECKSUMS = "checksums"
TRAJECTORY, TOLD = ("sigmas", "latents", "noise"), ("told.context", "told.pooled")

_ENTRIES = {FORMAT, "pack_version", "method", "model", "layers", "kept_for", "hashes"}
_REPEATED = {"sigmas", "precision", "storage", "latent", "tensors"}  # of the first version: what tensors say anyway
_SMALL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # number types of trajectory and prompt
_PACKED = (*PRECISIONS.values(), torch.bfloat16)  # of features; bfloat16 in files of the first version
_KEY = re.compile(rf"({'|'.join(BLOCKS)})\.(\d{{1,4}})\.(\d{{1,4}})")
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 20  # of any side, width, count or number of steps
_LONGEST_TEXT = 400


class ManifestError(ValueError):
    """What a file says of its bank makes no sense."""


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise ManifestError(problem)


def small_tensors(bank: FeatureBank) -> dict[str, Tensor]:
    """Trajectory of a bank, and what a recomputed one is told, by their names in a file."""
    way, store = bank.trajectory, bank.store
    told = (store.context, store.pooled) if isinstance(store, RecomputedStore) else (None, None)
    held = zip((*TRAJECTORY, *TOLD), (way.sigmas, way.latents, way.noise, *told), strict=True)
    return {name: tensor for name, tensor in held if tensor is not None}


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bank besides the numbers.

    ``tensors`` are type and shape of :func:`small_tensors`, ``dtype`` the features' number type if any are kept;
    ``hashes`` are SHA-256 of the clean latent and, if it was at hand, of the 8-bit picture.
    """

    model: ModelFingerprint
    method: str
    layers: tuple[AttentionLayer, ...]
    kept_for: Mapping[int, int]
    tensors: Mapping[str, Slot]
    dtype: torch.dtype | None
    hashes: Mapping[str, str]
    pack_version: str = ""
    thumbnail: str = ""

    @classmethod
    def of(cls, bank: FeatureBank, hashes: Mapping[str, str], pack_version: str, thumbnail: str) -> Manifest:
        tensors = {name: Slot(tensor.dtype, tuple(tensor.shape)) for name, tensor in small_tensors(bank).items()}
        known = (bank.model, bank.trajectory.method, bank.layers, bank.kept_for, tensors, bank.store.dtype, hashes)
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

    def count(self) -> int:
        """How many tensors the file has; quick where ``slots`` would be long."""
        features = len(self.layers) * len(self.kept)
        return len(self.tensors) + features * (2 if self.dtype == torch.int8 else 1) + 1

    def metadata(self) -> dict[str, str]:
        """As the header has it."""
        said = {
            FORMAT: VERSION,
            "pack_version": self.pack_version,
            "model": json.dumps(self.model._asdict()),
            "method": self.method,
            "layers": json.dumps([(str(layer.key), layer.channels, layer.scale) for layer in self.layers]),
            "kept_for": json.dumps(sorted(self.kept_for.items())),
            "hashes": json.dumps(dict(self.hashes)),
        }
        return said | ({THUMBNAIL: self.thumbnail} if self.thumbnail else {})

    @classmethod
    def parse(cls, said: Any, entries: Mapping[str, Any]) -> Manifest:
        """The manifest of a header: its metadata and its entries of tensors. ``ManifestError`` with what is wrong."""
        said = _checked(said)
        try:
            read = {name: strict_json(said[name]) for name in ("model", "layers", "kept_for", "hashes")}
        except ValueError as error:
            raise ManifestError(str(error)) from error
        tensors = _tensors(entries)
        layers, kept_for = _layers(read["layers"]), _kept_for(read["kept_for"], tensors["sigmas"].shape[0] - 1)
        dtype = None
        if layers and kept_for and TOLD[0] not in tensors:
            dtype = _slot(entries, str(Place(min(kept_for.values()), layers[0].key))).dtype
            require(dtype in _PACKED, f"its features are of type {dtype}, which is no precision")
        return cls(
            _fingerprint(read["model"], len(layers)),
            _text(said["method"], "method"),
            layers,
            kept_for,
            tensors,
            dtype,
            _hashes(read["hashes"]),
            _text(said["pack_version"], "pack_version"),
            said.get(THUMBNAIL, ""),
        )


def _checked(said: Any) -> dict[str, str]:
    """Metadata that are texts, of a version that is known, and nothing else."""
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ManifestError("it is no feature bank: its header has no text entries")
    version = said.get(FORMAT)
    require(version is not None, "it is no feature bank, but some other kind of safetensors file")
    require(
        version in (FIRST, VERSION),
        f"it has bank format {_shown(version)}, and this MagicStyle reads up to {VERSION}. Update MagicStyle to use it",
    )
    expected = _ENTRIES | (_REPEATED if version == FIRST else set())
    if odd := sorted(expected ^ (set(said) - {THUMBNAIL})):
        raise ManifestError(f"its entries are not those of a bank: {', '.join(odd)[:80]} missing or unknown")
    return said


def _shown(value: Any) -> str:
    """A value of any kind, short."""
    return repr(value)[:60] if isinstance(value, str | int | float) else type(value).__name__


def _integer(value: Any, what: str, high: int = _LARGEST) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= high
    require(good, f"{what} is {_shown(value)}; expected a whole number from 1 to {high}")
    return value


def _listed(value: Any, what: str, length: int | None = None) -> list:
    good = isinstance(value, list) and (length is None or len(value) == length)
    require(good, f"{what} is no list{'' if length is None else f' of {length}'}")
    return value


def _text(value: Any, what: str) -> str:
    good = isinstance(value, str) and len(value) <= _LONGEST_TEXT and (value.isprintable() or not value)
    require(good, f"{what} is {_shown(value)}; expected a short text")
    return value


def _slot(entries: Mapping[str, Any], name: str) -> Slot:
    """What the header says of a tensor's type and shape."""
    try:
        slot = slot_of(entries[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"tensor {name} is missing, or has no type and shape that are known") from error
    return Slot(slot.dtype, tuple(_integer(side, f"a side of {name}") for side in slot.shape))


def _tensors(entries: Mapping[str, Any]) -> dict[str, Slot]:
    """Trajectory, and what a recomputed bank is told, with sides that fit together."""
    needed = {*TRAJECTORY[:2], *(TOLD[:1] if TOLD[1] in entries else ())}
    slots = {name: _slot(entries, name) for name in (*TRAJECTORY, *TOLD) if name in entries or name in needed}
    latents = slots["latents"].shape
    require(len(latents) == 5 and latents[0] >= 2, f"its latents have shape {latents}; expected (N+1, B, C, H, W)")
    shapes = {"sigmas": latents[:1], "noise": latents[1:]}
    for name, slot in slots.items():
        good = slot.shape == shapes.get(name, slot.shape) and slot.dtype in _SMALL
        if name in TOLD:
            good = good and len(slot.shape) == (3 if name == TOLD[0] else 2) and slot.shape[0] == 1
        require(good, f"tensor {name} is {slot.dtype} {slot.shape}; expected {shapes.get(name, '(1, ...)')}")
    return slots


def _layers(value: Any) -> tuple[AttentionLayer, ...]:
    layers = []
    for entry in _listed(value, "the list of layers"):
        key, channels, scale = _listed(entry, "a layer", 3)
        found = _KEY.fullmatch(key) if isinstance(key, str) else None
        address = LayerKey(found[1], int(found[2]), int(found[3])) if found else None
        if address is None or str(address) != key:
            raise ManifestError(f"a layer is called {_shown(key)}")
        layers.append(AttentionLayer(address, _integer(channels, "a layer's width"), _integer(scale, "its scale")))
    require(len({layer.key for layer in layers}) == len(layers), "a layer comes twice")
    return tuple(layers)


def _kept_for(value: Any, steps: int) -> dict[int, int]:
    pairs = [_listed(pair, "an entry of kept_for", 2) for pair in _listed(value, "kept_for")]
    kept_for = {_integer(step, "a step", steps): _integer(kept, "a kept step", steps) for step, kept in pairs}
    require(len(kept_for) == len(pairs), "a step comes twice in kept_for")
    good = all(kept_for.get(kept) == kept for kept in kept_for.values())
    require(good, "a step reads the features of a step that is not kept")
    return kept_for


def _fingerprint(value: Any, layers: int) -> ModelFingerprint:
    good = isinstance(value, dict) and set(value) == set(ModelFingerprint._fields)
    require(good, "the model is not described as it should be")
    texts = {name: _text(value[name], f"the model's {name}") for name in ("name", "prediction", "weights")}
    sizes = {name: _integer(value[name], f"the model's {name}") for name in ("channels", "context", "layers")}
    require(layers <= sizes["layers"], f"it has {layers} layers, its model has {sizes['layers']}")
    return ModelFingerprint(**{**texts, **sizes})  # type: ignore[arg-type]


def _hashes(value: Any) -> dict[str, str]:
    good = isinstance(value, dict) and "latent" in value and set(value) <= {"latent", "image"}
    good = good and all(isinstance(text, str) and _HASH.fullmatch(text) for text in value.values())
    require(good, "its hashes are none")
    return value
