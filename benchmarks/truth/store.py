"""Results in a folder, one file each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from demo.codec import PatchCodec
from demo.network import Network
from demo.render.fields import Field


@dataclass(frozen=True)
class Store:
    """`key`: what decides every result in it, except the code."""

    folder: Path
    key: str

    def result(self, name: str, what: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, something that JSON can hold, made once for each `what`. `name` is for people."""
        file = self._file(name, what, ".json")
        if not file.exists():
            found = json.dumps(make())
            with _written(file) as opened:
                opened.write(found.encode())
        return json.loads(file.read_text())

    def pictures(self, name: str, what: str, make: Callable[[], list[Field]]) -> list[Field]:
        """The same for pictures (S, S, 3), rounded to bytes."""
        file = self._file(name, what, ".npz")
        if not file.exists():
            pixels = np.uint8(np.clip(np.stack(make()), 0.0, 1.0) * 255.0 + 0.5)
            with _written(file) as opened:
                np.savez_compressed(opened, pixels=pixels)
        with np.load(file) as found:
            return list(found["pixels"] / np.float32(255))

    def _file(self, name: str, what: str, suffix: str) -> Path:
        plain = "".join(c if c.isalnum() else "_" for c in name.lower())
        digest = hashlib.sha256(f"{self.key} {what}".encode()).hexdigest()[:12]
        return self.folder / f"{plain}-{digest}{suffix}"


@contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """A file that is there as a whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("wb") as opened:
        yield opened
    unfinished.replace(file)


def fingerprint(network: Network) -> str:
    """Changes with the weights of network and codec."""
    codec = network.codec
    coding = codec.state().values() if isinstance(codec, PatchCodec) else codec.parameters()
    return repr(sum(float(p.double().abs().sum()) for p in [*network.unet.parameters(), *coding]))
