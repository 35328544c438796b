"""Contents, their truths in a style, and two references of that style: one in the content's pose, one unlike it.

People, style seeds and references are all held out from the training of the demo model and of the classifiers. There
are two parts: choices are made on *development* pairs, figures are told of *report* pairs, which no choice has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from PIL import Image

from demo.render import render, scene
from demo.render.fields import Field
from demo.render.portrait import features
from demo.render.styles import KINDS, Style, apply, style
from demo.train import natural
from demo.train.dataset import ASSETS, HELD_OUT_SCENES, HELD_OUT_STYLES

Part = Literal["development", "report"]
# Added to the seeds of people, sitters, strangers and styles; judges of training take theirs below 2_000.
OFFSETS: dict[Part, int] = {"development": 0, "report": 20_000}
IDENTITIES = 12
OTHERS = 6  # references that a picture was not made with
ALL = 168  # twice the least common multiple of 12 people and 14 kinds
ALIGNED_PEOPLE = HELD_OUT_SCENES + 1_000  # who sits for the references; one person per pair
MISALIGNED_PEOPLE = HELD_OUT_SCENES + 2_000
OTHER_TEXTURE = 1_000_003  # added to a style's seed; odd, because noise repeats with the seed modulo 256
UNSEEN = ("portrait_biden.jpg", "portrait_obama.jpg")  # photographs that no training has seen
SHIFT = (0.08, 0.14)  # down and right, as fractions of the side


@dataclass(frozen=True, eq=False)
class Pair:
    """content: a person; truth: that person in the style; aligned, misaligned: other people in the style.
    Images (S, S, 3) in 0..1; person: seed of the content's scene; identity: 0..11; kind: family of the style."""

    person: int
    identity: int
    kind: str
    content: Field
    truth: Field
    aligned: Field
    misaligned: Field

    @property
    def features(self) -> Mapping[str, Field]:
        """Masks (S, S) of the content's `eyes` and `mouth`."""
        return _features(self.person, len(self.content))


def pairs(size: int, count: int = ALL, part: Part = "development") -> list[Pair]:
    """The first `count` of a part's 168 pairs: 12 people, each in 7 of the 14 kinds, twice with other dials.

    People and kinds go round side by side, so that a prefix of any length is as balanced as it can be.
    """
    if part not in get_args(Part):
        raise ValueError(f"Pairs are of the part {' or '.join(get_args(Part))}; got '{part}'.")
    if not 1 <= count <= ALL:
        raise ValueError(f"There are 1 to {ALL} pairs; {count} were asked for.")
    contents = [render(scene(seed), size)[0] for seed in people(part)[:count]]
    return [_pair(index, contents[index % IDENTITIES], size, OFFSETS[part]) for index in range(count)]


def people(part: Part) -> range:
    """Seeds of the twelve people of a part."""
    first = HELD_OUT_SCENES + OFFSETS[part]
    return range(first, first + IDENTITIES)


def others(rows: Sequence[Pair], index: int, references: str) -> list[Field]:
    """References that pair `index` was not made with: of the pairs after it, around the twelve that it belongs to.

    Twelve pairs in a row are of twelve kinds. The choice is the same whatever number of pairs there are, if that is
    whole twelves.
    """
    first = index - index % IDENTITIES
    twelve = rows[first : first + IDENTITIES]
    turned = [twelve[(index - first + step) % len(twelve)] for step in range(1, len(twelve))]
    return [getattr(pair, references) for pair in turned[:OTHERS]]


def photographs(size: int, files: Sequence[str] = natural.PHOTOGRAPHS) -> list[tuple[str, Field]]:
    """Name and picture (size, size, 3) of real portraits in assets/, the whole picture scaled to a square: those that
    the demo model was trained on, or `UNSEEN`."""
    found = []
    for file, photo in zip(files, natural.photographs(ASSETS, files), strict=True):
        scaled = photo.resize((size, size), Image.Resampling.LANCZOS)
        name = file.removeprefix("portrait_").removesuffix(".jpg")
        found.append((name, np.asarray(scaled, np.float32) / np.float32(255)))
    return found


def other_texture(chosen: Style) -> Style:
    """The same palette, dials, angle and pitch with the strokes, cells and grain elsewhere.

    Halftone, risograph and engraving draw their screens from angle, pitch and dials alone; they stay where they are.
    """
    return replace(chosen, seed=chosen.seed + OTHER_TEXTURE)


def mirrored_and_shifted(image: Field) -> Field:
    """The picture (S, S, 3) mirrored, then moved down and right; what comes into view is filled by reflection."""
    size = len(image)
    down, right = (round(part * size) for part in SHIFT)
    return np.pad(image[:, ::-1], ((down, 0), (right, 0), (0, 0)), mode="reflect")[:size, :size]


@lru_cache(maxsize=2 * IDENTITIES)
def _features(person: int, size: int) -> Mapping[str, Field]:
    return features(scene(person), size)


def _pair(index: int, content: Field, size: int, offset: int) -> Pair:
    identity, kind = index % IDENTITIES, KINDS[index % len(KINDS)]
    person, chosen = HELD_OUT_SCENES + offset + identity, style(HELD_OUT_STYLES + offset + index, kind)
    sitter = replace(scene(ALIGNED_PEOPLE + offset + index), pose=scene(person).pose)
    aligned = render(sitter, size)[0]
    stranger = mirrored_and_shifted(render(scene(MISALIGNED_PEOPLE + offset + index), size)[0])
    return Pair(
        person,
        identity,
        kind,
        content,
        apply(chosen, content),
        apply(chosen, aligned),
        apply(other_texture(chosen), stranger),
    )
