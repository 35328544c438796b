"""The default on photographs, beside the renderings, so that nothing holds for these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from demo.network import Network
from demo.render.fields import Field
from demo.render.styles import apply, style
from demo.train.natural import PHOTOGRAPHS
from magicstyle_core.bank.bank import FeatureBank

from .faces import Face, Recognizer
from .methods import Row, Setting
from .pairs import UNSEEN, photographs
from .store import Store
from .study import Values, against_reference, pictures, planes, same

# Kinds, and the seeds with which assets/make_pictures.py drew the style pictures.
STYLES = {"woodcut": 9004, "halftone": 9007, "mosaic": 9005, "oil": 9004, "hatching": 9005, "watercolor": 9003}
UNUSED = ("neon", "pastel")  # with the others of STYLES: what a picture was not made with
MEASURES = ("patch", "structure", "ghost", "place", "grid", "face", "same")


@dataclass(eq=False)
class Photographs:
    """All photographs in the first `styles` of STYLES."""

    network: Network
    size: int
    store: Store
    recognizer: Recognizer
    styles: int
    steps: int = 20

    def measure(self, row: Row) -> Values:
        """Measures of a row, the photographs in the first style, then in the next."""

        def make() -> dict[str, list[float]]:
            images, found = self.pictures(row), []
            for (content, kind), image in zip(self.pairs, images, strict=True):
                unused = [picture for name, picture in self._styles.items() if name != kind]
                values = against_reference(image, self.portraits[content], self._styles[kind], unused)
                distance = self.recognizer.distance(self._faces[content], image)
                found.append([values[name] for name in MEASURES[:-2]] + [distance])
            return dict(zip(MEASURES[:-1], np.transpose(found).tolist(), strict=True))

        stored = self.store.result(f"photographs {row.name}", self._what(row), make)
        values = {name: np.array(numbers, np.float64) for name, numbers in stored.items()}
        return values | {"same": same(values["face"])}

    def pictures(self, row: Row) -> list[Field]:
        """The row's pictures, in the same order, rounded to bytes."""
        return self.store.pictures(f"photographs {row.name}", self._what(row), lambda: self._drawn(row))

    @cached_property
    def truth_same(self) -> float:
        """How often the recognizer takes a photograph and the same in the style, by the renderer, for one person."""
        truths = [apply(style(STYLES[kind], kind), self.portraits[content]) for content, kind in self.pairs]
        faces = [self._faces[content] for content, _ in self.pairs]
        return float(np.nanmean(same(np.array(list(map(self.recognizer.distance, faces, truths))))))

    @property
    def kinds(self) -> list[str]:
        """Kinds of style that are used."""
        return list(STYLES)[: self.styles]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names of photograph and style."""
        return [(content, style) for style in self.kinds for content in self.portraits]

    @cached_property
    def portraits(self) -> dict[str, Field]:
        """Photographs by name: those of training, then those that no training has seen."""
        return dict(photographs(self.size, (*PHOTOGRAPHS, *UNSEEN)))

    def style(self, name: str) -> Field:
        """A style picture."""
        return self._styles[name]

    def _what(self, row: Row) -> str:
        return f"photographs {row.method!r} {self.styles} {tuple(STYLES)} {UNUSED}"

    def _drawn(self, row: Row) -> list[Field]:
        setting, drawn = row.method, []
        if not isinstance(setting, Setting):
            raise ValueError(f"Photographs run through the network; got the row '{row.name}', which does not.")
        for name in self.kinds:
            bank = self.network.invert(planes([self._styles[name]]), self.steps)
            patches = setting.patches(self.network, self._contents, bank)
            drawn += pictures(self.network.stylize(self._contents, patches, bank, setting.look))
        return drawn

    @cached_property
    def _contents(self) -> FeatureBank:
        return self.network.invert(planes(list(self.portraits.values())), self.steps)

    @cached_property
    def _styles(self) -> dict[str, Field]:
        return {name: _style(name, self.size) for name in (*STYLES, *UNUSED)}

    @cached_property
    def _faces(self) -> dict[str, Face | None]:
        return {name: self.recognizer.find(portrait) for name, portrait in self.portraits.items()}


def _style(name: str, size: int) -> Field:
    ((_, picture),) = photographs(size, [f"style_{name}.jpg"])
    return picture


def record(row: Row, work: Photographs) -> dict[str, dict[str, float | None]]:
    """Every figure of a row, by photograph and style, as JSON knows them."""
    values = work.measure(row)
    return {
        " | ".join(names): {name: None if np.isnan(found[i]) else float(found[i]) for name, found in values.items()}
        for i, names in enumerate(work.pairs)
    }


def lines(rows: Sequence[Row], work: Photographs) -> list[str]:
    """Lines of a Markdown table."""
    count = f"{len(work.portraits)} photographs in {work.styles} styles"
    found = [f"| {count} | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for row in rows:
        values = work.measure(row)
        cells = [f"{np.nanmean(values[name]):{'.0%' if name == 'same' else '.3f'}}" for name in MEASURES]
        found.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return found
