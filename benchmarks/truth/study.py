"""Runs methods over pairs and measures the images; every row is stored, so that a study can be interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo.codec import PatchCodec
from demo.network import Network
from demo.render.fields import Field
from demo.render.styles import KINDS
from magicstyle_core.bank.bank import FeatureBank

from . import measures
from .classical import monge_kantorovich
from .classifiers import Classifiers
from .methods import Row, Setting
from .pairs import IDENTITIES, Pair

Values = dict[str, NDArray[np.float64]]  # by measure, one number per pair
DISTANCES = ("color", "patch", "texture")  # to the reference: less is better
KEPT = ("structure", "psnr", "ssim", "truth_structure")  # more is better
RIGHT = ("identity", "style")  # 1 where the classifier is right


@dataclass(eq=False)
class Study:
    """Pairs, the network that they run through, the classifiers, and a folder of finished rows.

    Pairs run in groups of 12, one for each person, so that one bank of contents serves all groups. Banks of one set of
    references are in memory at a time: measure one set after the other.
    """

    network: Network
    pairs: Sequence[Pair]
    classifiers: Classifiers
    folder: Path
    steps: int = 20
    _banks: dict[tuple[str, int], FeatureBank] = field(default_factory=dict, init=False)

    def measure(self, row: Row, references: str) -> Values:
        """All measures of a row against the `references` "aligned" or "misaligned"."""
        file = self.folder / f"{self._fingerprint(row, references)}.json"
        if not file.exists():
            values = self._measured(self.images(row, references), references)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                json.dumps({"row": row.name, "set": references, **{k: v.tolist() for k, v in values.items()}})
            )
        stored = json.loads(file.read_text())
        return {name: np.array(stored[name]) for name in (*DISTANCES, *KEPT, *RIGHT)}

    def images(self, row: Row, references: str) -> list[Field]:
        """The row's image for every pair."""
        if isinstance(row.method, str):
            images = [pair.content if row.method == "content" else pair.truth for pair in self.pairs]
            return self._through_codec(images) if row.method == "codec" else images
        if isinstance(row.method, Setting):
            setting = row.method
            return [image for i in range(len(self._groups)) for image in self._stylized(setting, references, i)]
        return [row.method(pair.content, getattr(pair, references)) for pair in self.pairs]

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """Identity of every pair's content."""
        return np.array([pair.identity for pair in self.pairs])

    @cached_property
    def _groups(self) -> list[Sequence[Pair]]:
        return [self.pairs[i : i + IDENTITIES] for i in range(0, len(self.pairs), IDENTITIES)]

    def _stylized(self, setting: Setting, references: str, group: int) -> list[Field]:
        style = self._references(references, group)
        content = self._recolored(references, group) if setting.recolor else self._contents(group)
        patches = setting.patches(self.network, content, style)
        return pictures(self.network.stylize(content, patches, style, setting.look))

    def _references(self, references: str, group: int) -> FeatureBank:
        self._banks = {key: bank for key, bank in self._banks.items() if key[0] in ("content", references)}
        return self._bank(references, group)

    def _contents(self, group: int) -> FeatureBank:
        return self._bank("content", 0 if len(self._groups[group]) == IDENTITIES else group)  # the same twelve people

    def _bank(self, what: str, group: int) -> FeatureBank:
        if (what, group) not in self._banks:
            images = [getattr(pair, what) for pair in self._groups[group]]
            self._banks[what, group] = self.network.invert(planes(images), self.steps)
        return self._banks[what, group]

    def _recolored(self, references: str, group: int) -> FeatureBank:
        """Contents in the colours of their references; few rows want them, so none is kept."""
        pairs = self._groups[group]
        images = [monge_kantorovich(pair.content, getattr(pair, references)) for pair in pairs]
        return self.network.invert(planes(images), self.steps)

    def _through_codec(self, images: Sequence[Field]) -> list[Field]:
        return pictures(self.network.codec.decode(self.network.codec.encode(planes(images))))

    def _measured(self, images: Sequence[Field], references: str) -> Values:
        both = list(zip(images, self.pairs, strict=True))
        against_reference = {
            "color": measures.color_distance,
            "patch": measures.patch_distance,
            "texture": measures.texture_distance,
        }
        values = {
            name: [distance(image, getattr(pair, references)) for image, pair in both]
            for name, distance in against_reference.items()
        }
        values["structure"] = [measures.gradient_ssim(image, pair.content) for image, pair in both]
        to_truth: dict[str, Callable[[Field, Field], float]] = {
            "psnr": measures.psnr,
            "ssim": measures.ssim,
            "truth_structure": measures.gradient_ssim,
        }
        for name, likeness in to_truth.items():
            values[name] = [likeness(image, pair.truth) for image, pair in both]
        stacked = np.stack(images).astype(np.float32)
        kinds = np.array([KINDS.index(pair.kind) for pair in self.pairs])
        values["identity"] = list(self.classifiers.identity(stacked) == self.people)
        values["style"] = list(self.classifiers.style(stacked) == kinds)
        return {name: np.array(numbers, np.float64) for name, numbers in values.items()}

    def _fingerprint(self, row: Row, references: str) -> str:
        """Changes with everything that decides a row's numbers, except the code."""
        size = len(self.pairs[0].content)
        what = row.method if isinstance(row.method, Setting) else row.name
        text = f"{what!r} {references} {size} {len(self.pairs)} {self.steps} {self._weights}"
        name = "".join(c if c.isalnum() else "_" for c in row.name.lower())
        return f"{name}-{references}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @cached_property
    def _weights(self) -> float:
        codec = self.network.codec
        coding = codec.state().values() if isinstance(codec, PatchCodec) else codec.parameters()
        return sum(float(p.double().abs().sum()) for p in [*self.network.unet.parameters(), *coding])


def planes(images: Sequence[Field]) -> Tensor:
    """Pictures as the network takes them: (B, 3, S, S)."""
    return torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2)


def pictures(images: Tensor) -> list[Field]:
    """The other way round."""
    return list(images.permute(0, 2, 3, 1).numpy())
