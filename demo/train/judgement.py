"""How well a weights file paints what it is told, from pure noise: figures by the judge, and a sheet to look at.

python3 -m demo.train.judgement FILE FOLDER --size 64 --count 48 --out sheet.png

FOLDER holds the judge, or the faces to train it on. Prompts are of people and styles never trained on. Every figure
stands beside the judge's own on renderings of the same facts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..network import Network
from ..text.captions import caption
from ..text.encoder import TextEncoder
from ..text.facts import CLASSES, Facts
from . import judge
from .export import load_text
from .paint import paint

SEED = 3
SHEET, COLUMNS = 24, 8  # prompts; a row of prompts' pictures under a row of renderings
SWAPPED = ("black", "grey", "red", "brown")  # colours of both hair and clothes
BROWNS = ("dark brown", "brown", "light brown")
ORDERS = ("{hair} hair, {cloth} sweater", "a woman in a {cloth} sweater with {hair} hair")
STYLED_SHARE = 3  # of the sheet's prompts one in so many is in a style


class Session:
    """One weights file before one judge."""

    def __init__(self, weights: Path, folder: Path, size: int) -> None:
        self.network, text = Network.load(weights), load_text(weights)
        if text is None:
            raise SystemExit(f"{weights} has no encoder of prompts; give a file of `python3 -m demo.train --text`.")
        self.text: TextEncoder = text
        self.judge = judge.judge(folder)
        self.size = size
        images, facts = judge.held_out(folder)
        styled = torch.tensor([each.style != "photo" for each in facts])
        self.photos, self.styled = images[~styled], images[styled]
        self.photo_facts = [each for each in facts if each.style == "photo"]
        self.styled_facts = [each for each in facts if each.style != "photo"]

    def paint(self, prompts: Sequence[str], cfg: float) -> Tensor:
        """Pictures (B, 3, size, size)."""
        return paint(self.network, self.text, prompts, self.size, cfg, seed=SEED)

    def attributes(self, count: int, cfg: float) -> tuple[dict[str, float], float]:
        """Accuracy by attribute on prompts of `count` photos, and the Fréchet distance of those samples."""
        facts = self.photo_facts[:count]
        samples = self.paint(full_captions(facts), cfg)
        scores = self.judge.accuracy(samples, judge.labels(facts))
        return scores, self._distance(samples, count)

    def own_attributes(self, count: int) -> tuple[dict[str, float], float]:
        """The same of the renderings themselves."""
        images = self.photos[:count]
        return self.judge.accuracy(images, judge.labels(self.photo_facts[:count])), self._distance(images, count)

    def _distance(self, images: Tensor, count: int) -> float:
        """To renderings other than those of the prompts."""
        features = [self.judge.features(judge.small(x)) for x in (images, self.photos[count:])]
        return judge.frechet(*features)

    def style_word(self, count: int, cfg: float) -> tuple[float, float, dict[str, float]]:
        """Share of the right style among samples and among renderings, and the samples' accuracy by attribute."""
        facts = self.styled_facts[:count]
        truth = judge.labels(facts)
        found = self.judge.accuracy(self.paint(full_captions(facts), cfg), truth)
        return found["style"], self.judge.accuracy(self.styled[:count], truth)["style"], found

    def order(self, cfg: float) -> float:
        """Share of prompts with two colours in which the judge finds them on hair and clothes, not swapped."""
        pairs = [(a, b) for a in SWAPPED for b in SWAPPED if a != b]
        prompts = [text.format(hair=a, cloth=b) for text in ORDERS for a, b in pairs]
        shares = self.judge.shares(self.paint(prompts, cfg))
        right = [
            _assigned(shares, row, a, b) > _assigned(shares, row, b, a)
            for row, (a, b) in enumerate(pairs * len(ORDERS))
        ]
        return float(np.mean(right))

    def sheet(self, cfg: float) -> Image.Image:
        """Renderings, and under each a sample of its facts."""
        styled = SHEET // STYLED_SHARE
        facts = self.photo_facts[: SHEET - styled] + self.styled_facts[:styled]
        truth = F.interpolate(torch.cat([self.photos[: SHEET - styled], self.styled[:styled]]), self.size, mode="area")
        samples = self.paint(full_captions(facts), cfg)
        rows = []
        for start in range(0, SHEET, COLUMNS):
            rows += [torch.cat(list(part[start : start + COLUMNS]), 2) for part in (truth, samples)]
        sheet = torch.cat(rows, 1).permute(1, 2, 0)
        return Image.fromarray(np.uint8((sheet.numpy() * 255).round()))


def full_captions(facts: Sequence[Facts]) -> list[str]:
    """A prompt for each, with nothing left out on purpose."""
    return [caption(each, 10_000 + seed, dropped=0.0) for seed, each in enumerate(facts)]


def _assigned(shares: dict[str, Tensor], row: int, hair: str, cloth: str) -> float:
    """Probability of these two colours in picture `row`."""
    names = BROWNS if hair == "brown" else (hair,)
    of_hair = sum(float(shares["hair"][row, CLASSES["hair"].index(name)]) for name in names)
    return of_hair * float(shares["cloth"][row, CLASSES["cloth"].index(cloth)])


def mean(scores: dict[str, float]) -> float:
    """Over the attributes of a portrait; the style is told apart."""
    return float(np.nanmean([value for name, value in scores.items() if name != "style"]))


def report(session: Session, count: int, guidances: Sequence[float]) -> Iterator[tuple[str, object]]:
    """All figures by name, as they come."""
    scores, distance = session.own_attributes(count)
    yield "renderings", {"mean": mean(scores), "frechet": distance, **scores}
    for cfg in guidances:
        scores, distance = session.attributes(count, cfg)
        yield f"cfg {cfg:g}", {"mean": mean(scores), "frechet": distance, **scores}
    middle = guidances[len(guidances) // 2]
    right, rendered, scores = session.style_word(count, middle)
    yield "style word", {"samples": right, "renderings": rendered, "mean of attributes": mean(scores)}
    yield "order", session.order(middle)


def rounded(value: object) -> object:
    """Figures as one reads them."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.judgement", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=48, help="prompts of each kind")
    parser.add_argument("--cfg", default="1,3,5", help="guidances; styles, order and sheet take the middle one")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    session = Session(options.weights, options.folder, options.size)
    guidances = [float(cfg) for cfg in options.cfg.split(",")]
    session.sheet(guidances[len(guidances) // 2]).save(options.out)
    for name, figures in report(session, options.count, guidances):
        print(name, json.dumps(rounded(figures)), flush=True)


if __name__ == "__main__":
    main()
