"""Runs methods over pairs and measures the images, twelve pairs at a time; every twelve are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo.network import Network
from demo.render.fields import Field
from demo.render.styles import KINDS
from magicstyle_core.bank.bank import FeatureBank

from . import measures
from .classical import monge_kantorovich
from .classifiers import Classifiers
from .faces import SAME, Face, Recognizer
from .ghost import ghost, in_place
from .grid import grid
from .lattice import lattice
from .methods import Row, Setting
from .pairs import IDENTITIES, Pair, Part, others
from .store import Store, fingerprint

Values = dict[str, NDArray[np.float64]]  # by measure, one number per pair; NaN where a pair has no such number
DISTANCES = ("color", "patch", "texture")  # to the reference: less is better
KEPT = ("structure", "eyes", "psnr", "ssim", "truth_structure", "lattice")  # more is better
FAULTS = ("ghost", "place", "grid", "face")  # less is better
RIGHT = ("identity", "style", "same")  # 1 where a classifier or the recognizer is right
MEASURES = (*DISTANCES, *KEPT, *FAULTS, *RIGHT)


@dataclass(eq=False)
class Study:
    """Pairs, the network that they run through, those who judge, and a folder of finished rows.

    Pairs run in groups of 12, one for each person, so that one bank of contents serves all groups. Beside it only the
    banks of one group and set of references are in memory: measure all rows of a group before the next. Without a
    `recognizer` faces are not compared.
    """

    network: Network
    pairs: Sequence[Pair]
    classifiers: Classifiers
    folder: Path
    steps: int = 20
    part: Part = "development"
    recognizer: Recognizer | None = None
    _banks: dict[tuple[str, int], FeatureBank] = field(default_factory=dict, init=False)
    _faces: dict[int, Face | None] = field(default_factory=dict, init=False)

    def measure(self, row: Row, references: str, count: int | None = None) -> Values:
        """All measures of a row on the first `count` pairs, against the `references` "aligned" or "misaligned"."""
        groups = range(len(self.groups(count)))
        parts = [self.measure_group(row, references, group) for group in groups]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in MEASURES}

    def measure_group(self, row: Row, references: str, group: int) -> Values:
        """The same for a group of pairs."""
        what = self._what(row, references, group)

        def make() -> dict[str, list[float]]:
            images = self.images(row, references, group)
            if group == 0:
                self.store.pictures(row.name, what, lambda: images)
            return {name: values.tolist() for name, values in self._measured(images, references, group).items()}

        stored = self.store.result(row.name, what, make)
        return {name: np.array(stored[name], np.float64) for name in MEASURES}

    def pictures(self, row: Row, references: str) -> list[Field]:
        """The row's images of the first group, kept; rounded to bytes, as people see them."""
        what = self._what(row, references, 0)
        return self.store.pictures(row.name, what, lambda: self.images(row, references, 0))

    def images(self, row: Row, references: str, group: int | None = None) -> list[Field]:
        """The row's image for every pair, or for those of a group."""
        if group is None:
            return [image for number in range(len(self.groups())) for image in self.images(row, references, number)]
        pairs = self.groups()[group]
        if isinstance(row.method, str):
            images = [pair.content if row.method == "content" else pair.truth for pair in pairs]
            return self._through_codec(images) if row.method == "codec" else images
        if isinstance(row.method, Setting):
            return self._stylized(row.method, references, group)
        return [row.method(pair.content, getattr(pair, references)) for pair in pairs]

    def groups(self, count: int | None = None) -> list[Sequence[Pair]]:
        """The first `count` pairs in twelves."""
        some = self.pairs[:count]
        return [some[i : i + IDENTITIES] for i in range(0, len(some), IDENTITIES)]

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """Identity of every pair's content."""
        return np.array([pair.identity for pair in self.pairs])

    @cached_property
    def store(self) -> Store:
        """The finished rows."""
        key = f"{fingerprint(self.network)} {self.part} {len(self.pairs[0].content)} {self.steps} {MEASURES}"
        return Store(self.folder, f"{key} {self.recognizer is not None}")

    def _what(self, row: Row, references: str, group: int) -> str:
        """What tells a group of a row from all others in the store."""
        method = row.method if isinstance(row.method, Setting) else row.name
        return f"{method!r} {references} {group} {len(self.groups()[group])}"

    def _stylized(self, setting: Setting, references: str, group: int) -> list[Field]:
        pairs, recolored = self.groups()[group], f"{references}, recolored"
        kept = ("content", 0), (references, group), (recolored, group)
        self._banks = {key: bank for key, bank in self._banks.items() if key in kept}
        style = self._bank(references, group, lambda: [getattr(pair, references) for pair in pairs])
        if setting.recolor:
            content = self._bank(recolored, group, lambda: self._recolored(pairs, references))
        else:  # the same twelve people, but for a shorter last group
            same = 0 if len(pairs) == IDENTITIES else group
            content = self._bank("content", same, lambda: [pair.content for pair in pairs])
        patches = setting.patches(self.network, content, style)
        return pictures(self.network.stylize(content, patches, style, setting.look))

    def _bank(self, what: str, group: int, images: Callable[[], list[Field]]) -> FeatureBank:
        if (what, group) not in self._banks:
            self._banks[what, group] = self.network.invert(planes(images()), self.steps)
        return self._banks[what, group]

    def _recolored(self, pairs: Sequence[Pair], references: str) -> list[Field]:
        """Contents in the colours of their references."""
        return [monge_kantorovich(pair.content, getattr(pair, references)) for pair in pairs]

    def _through_codec(self, images: Sequence[Field]) -> list[Field]:
        return pictures(self.network.codec.decode(self.network.codec.encode(planes(images))))

    def _measured(self, images: Sequence[Field], references: str, group: int) -> Values:
        pairs, first = self.groups()[group], group * IDENTITIES
        found = [
            against_reference(image, pair.content, getattr(pair, references), others(self.pairs, first + i, references))
            | against_truth(image, pair)
            | {"face": self._face_distance(image, pair)}
            for i, (image, pair) in enumerate(zip(images, pairs, strict=True))
        ]
        values = {name: np.array([one[name] for one in found], np.float64) for name in found[0]}
        stacked = np.stack(images).astype(np.float32)
        kinds = np.array([KINDS.index(pair.kind) for pair in pairs])
        values["identity"] = np.float64(self.classifiers.identity(stacked) == [pair.identity for pair in pairs])
        values["style"] = np.float64(self.classifiers.style(stacked) == kinds)
        return values | {"same": same(values["face"])}

    def _face_distance(self, image: Field, pair: Pair) -> float:
        if self.recognizer is None:
            return float("nan")
        if pair.person not in self._faces:
            self._faces[pair.person] = self.recognizer.find(pair.content)
        return self.recognizer.distance(self._faces[pair.person], image)


def against_reference(image: Field, content: Field, reference: Field, unused: Sequence[Field]) -> dict[str, float]:
    """Measures that need no truth; `unused` are pictures that the image was not made with."""
    return {
        "color": measures.color_distance(image, reference),
        "patch": measures.patch_distance(image, reference),
        "texture": measures.texture_distance(image, reference),
        "structure": measures.gradient_ssim(image, content),
        "ghost": ghost(image, content, reference, unused),
        "place": in_place(image, content, reference, unused),
        "grid": grid(image),
    }


def against_truth(image: Field, pair: Pair) -> dict[str, float]:
    """Measures that know the truth, or where things are in the content."""
    within = [measures.structure_within(image, pair.content, mask) for mask in pair.features.values()]
    return {
        "eyes": float(np.mean(within)),
        "psnr": measures.psnr(image, pair.truth),
        "ssim": measures.ssim(image, pair.truth),
        "truth_structure": measures.gradient_ssim(image, pair.truth),
        "lattice": lattice(image, pair.truth),
    }


def same(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where a face is the same person's, 0 where it is not, NaN where there was none."""
    return np.where(np.isnan(distances), np.nan, distances <= SAME)


def planes(images: Sequence[Field]) -> Tensor:
    """Pictures as the network takes them: (B, 3, S, S)."""
    return torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2)


def pictures(images: Tensor) -> list[Field]:
    """The other way round."""
    return list(images.permute(0, 2, 3, 1).numpy())
