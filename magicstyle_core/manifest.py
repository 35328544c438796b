"""What the header of a bank's file says beside the tensors: made of a bank, and read back without trusting it.

Metadata of safetensors are strings; what is more than text is JSON. Every entry is checked against the others before
anything is allocated, so that a manifest that was read describes a bank that could have been written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from . import untrusted
from .bank import FeatureBank, ModelFingerprint
from .features import PRECISIONS
from .layers import AttentionLayer
from .storage import Layout, LiveStore, Place, layouts_of
from .tensor_file import Slot, name_of, strict_json
from .untrusted import TOLD, TRAJECTORY, ManifestError, require, shown

FORMAT, FORMAT_VERSION = "magicstyle_bank", "1"
THUMBNAIL = "modelspec.thumbnail"  # a picture as data URI under this name is shown by the host's model library
NO_FEATURES = "-"
CHECKSUMS = "checksums"

_JSON = ("model", "sigmas", "layers", "kept_for", "latent", "tensors", "hashes")
_ENTRIES = {FORMAT, "pack_version", "method", "precision", "storage", *_JSON}


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bank besides the numbers.

    ``latent`` is ``(B,C,H,W)``; ``tensors`` are type and shape of trajectory and, for a live bank, of what the network
    is told; ``hashes`` are SHA-256 of the clean latent and, if it was at hand, of the 8-bit picture.
    """

    model: ModelFingerprint
    method: str
    sigmas: tuple[float, ...]
    layers: tuple[AttentionLayer, ...]
    kept_for: Mapping[int, int]
    precision: str
    latent: tuple[int, int, int, int]
    tensors: Mapping[str, Slot]
    hashes: Mapping[str, str]
    pack_version: str = ""
    thumbnail: str = ""

    @classmethod
    def of(cls, bank: FeatureBank, hashes: Mapping[str, str], pack_version: str, thumbnail: str) -> Manifest:
        way, told = bank.trajectory, bank.store if isinstance(bank.store, LiveStore) else None
        held = zip(
            (*TRAJECTORY, *TOLD),
            (way.sigmas, way.latents, way.noise, told and told.context, told and told.pooled),
            strict=True,
        )
        tensors = {name: Slot(tensor.dtype, tuple(tensor.shape)) for name, tensor in held if tensor is not None}
        sigmas = tuple(way.sigmas.tolist())
        latent = (way.batch, way.latents.shape[2], *way.size)
        features = bank.precision
        common = (bank.model, way.method, sigmas, bank.layers, bank.kept_for, features, latent, tensors, hashes)
        return cls(*common, pack_version, thumbnail)

    @property
    def live(self) -> bool:
        """Whether features are computed while sampling, so that none are in the file."""
        return TOLD[0] in self.tensors

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps whose features are kept, ascending."""
        return () if self.live else tuple(sorted(set(self.kept_for.values())))

    def layouts(self) -> dict[Place, Layout]:
        """Shapes of the features in the file."""
        if self.precision == NO_FEATURES:
            return {}
        batch, _, height, width = self.latent
        return layouts_of(self.layers, self.kept, batch, (height, width), PRECISIONS[self.precision])

    def slots(self) -> dict[str, Slot]:
        """All tensors of the file."""
        slots = dict(self.tensors)
        for place, layout in self.layouts().items():
            slots |= layout.slots(place)
        return slots | {CHECKSUMS: Slot(torch.int64, (1 + len(slots),))}

    def count(self) -> int:
        """How many tensors the file has; quick where ``slots`` would be long."""
        features = 0 if self.precision == NO_FEATURES else len(self.layers) * len(self.kept)
        return len(self.tensors) + features * (2 if self.precision == "int8" else 1) + 1

    def metadata(self) -> dict[str, str]:
        """As the header has it."""
        said = {
            FORMAT: FORMAT_VERSION,
            "pack_version": self.pack_version,
            "model": json.dumps(self.model._asdict()),
            "method": self.method,
            "sigmas": json.dumps(self.sigmas),
            "layers": json.dumps([(str(layer.key), layer.channels, layer.scale) for layer in self.layers]),
            "kept_for": json.dumps(sorted(self.kept_for.items())),
            "precision": self.precision,
            "latent": json.dumps(self.latent),
            "storage": "live" if self.live else "stored",
            "tensors": json.dumps({name: (name_of(slot.dtype), slot.shape) for name, slot in self.tensors.items()}),
            "hashes": json.dumps(dict(self.hashes)),
        }
        return said | ({THUMBNAIL: self.thumbnail} if self.thumbnail else {})

    @classmethod
    def parse(cls, said: Any) -> Manifest:
        """The manifest in a header; ``ManifestError`` with what is wrong."""
        said = _texts(said)
        _check_format(said)
        if missing := sorted(_ENTRIES ^ (set(said) - {THUMBNAIL})):
            raise ManifestError(f"its entries are not those of a bank: {', '.join(missing)[:80]} missing or unknown")
        try:
            read = {name: strict_json(said[name]) for name in _JSON}
        except ValueError as error:
            raise ManifestError(str(error)) from error
        live = said["storage"] == "live"
        require(live or said["storage"] == "stored", f"its storage is {shown(said['storage'])}")
        sigmas, latent = untrusted.sigmas(read["sigmas"]), untrusted.latent(read["latent"])
        layers = untrusted.layers(read["layers"])
        kept_for = untrusted.kept_for(read["kept_for"], len(sigmas) - 1)
        precisions = PRECISIONS if layers and kept_for and not live else (NO_FEATURES,)
        require(said["precision"] in precisions, f"its precision is {shown(said['precision'])}")
        return cls(
            untrusted.fingerprint(read["model"], len(layers)),
            untrusted.text(said["method"], "method"),
            sigmas,
            layers,
            kept_for,
            said["precision"],
            latent,
            untrusted.tensors(read["tensors"], len(sigmas), latent, live),
            untrusted.hashes(read["hashes"]),
            untrusted.text(said["pack_version"], "pack_version"),
            said.get(THUMBNAIL, ""),
        )


def _texts(said: Any) -> dict[str, str]:
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ManifestError("it is no feature bank: its header has no text entries")
    return said


def _check_format(said: Mapping[str, str]) -> None:
    version = said.get(FORMAT)
    require(version is not None, "it is no feature bank, but some other kind of safetensors file")
    require(
        version == FORMAT_VERSION,
        f"it has bank format {shown(version)}, and this MagicStyle reads {FORMAT_VERSION}. Update MagicStyle to use it",
    )
