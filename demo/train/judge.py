"""A judge of pictures: which class of every attribute does one show? Trained on renderings, held to unseen ones.

python3 -m demo.train.judge FOLDER          # trains it on the faces in FOLDER and keeps it there, prints its own score
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..text.facts import CLASSES, UNSAID, Facts
from . import checkpoint, dataset, faces, observe
from .pictures import as_images
from .variation import degrade

SIZE = 64  # pixels; larger pictures are averaged down to it
WIDTHS = (32, 64, 96, 128)
FEATURES = 192
PASSES, BATCH, RATE = 4, 64, 3e-3
PEOPLE, STYLED = 300, 120  # held out


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in 0..1 to scores of every attribute."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inner, outer) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
            layers += [nn.Conv2d(inner, outer, 5 if i == 0 else 3, 2, 2 if i == 0 else 1, bias=False)]
            layers += [nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.narrow = nn.Sequential(nn.Dropout(0.2), nn.Linear(WIDTHS[-1] * (SIZE // 16) ** 2, FEATURES), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(names)) for name, names in CLASSES.items()})

    def features(self, images: Tensor) -> Tensor:
        """What the scores are made of: (B, FEATURES)."""
        return self.narrow(self.body(images * 2.0 - 1.0))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def shares(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities of the classes, by attribute (B, classes): the mean over a picture and its mirror image."""
        images = small(images)
        both = self(images), self(images.flip(3))
        return {name: (both[0][name].softmax(1) + both[1][name].softmax(1)) / 2 for name in CLASSES}

    def accuracy(self, images: Tensor, truth: Tensor) -> dict[str, float]:
        """Share of right classes by attribute; truth (B, attributes), `UNSAID` does not count."""
        found = self.shares(images)
        result = {}
        for column, name in enumerate(CLASSES):
            said = truth[:, column] != UNSAID
            result[name] = float((found[name].argmax(1) == truth[:, column])[said].float().mean())
        return result


def small(images: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) averaged down to 64 pixels."""
    return images if images.shape[-1] == SIZE else F.interpolate(images, size=SIZE, mode="area")


def labels(facts: Sequence[Facts]) -> Tensor:
    """Classes (B, attributes)."""
    return torch.tensor([each.labels() for each in facts])


def held_out(folder: Path) -> tuple[Tensor, list[Facts]]:
    """Pictures (B, 3, 128, 128) of people and styles that neither the judge nor the painter has seen, drawn once."""
    path = folder / "held_out_128.npy"
    if not path.with_suffix(".json").exists():
        faces.write(path, *faces.collect(dataset.HELD_OUT_SCENES + 1000, PEOPLE, STYLED, 128))
    return as_images(np.load(path)), [observe.facts(seen) for seen in faces.read_seen(path)]


def judge(folder: Path) -> Judge:
    """The judge of `folder`, trained there if need be."""
    path, found = folder / "judge.safetensors", Judge()
    if path.exists():
        found.load_state_dict(checkpoint.read_tensors(path)[0])
    else:
        torch.manual_seed(0)
        _fit(found, *_training(folder))
        checkpoint.write_tensors(path, found.state_dict(), {})
    return found.train(False).requires_grad_(False)


def _training(folder: Path) -> tuple[Tensor, Tensor]:
    """All faces drawn so far: uint8 (N, 3, 64, 64) and their classes."""
    images, truth = [], []
    for path in faces.finished(folder, 128):
        images.append((small(as_images(np.load(path))) * 255.0 + 0.5).to(torch.uint8))
        truth.append(labels([observe.facts(seen) for seen in faces.read_seen(path)]))
    return torch.cat(images), torch.cat(truth)


def _fit(found: Judge, images: Tensor, truth: Tensor) -> None:
    steps = PASSES * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(found.parameters(), RATE, weight_decay=0.02)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.15)
    order = torch.cat([torch.randperm(len(images))[: steps // PASSES * BATCH] for _ in range(PASSES)])
    for step, chosen in enumerate(order.split(BATCH)):
        batch = images[chosen].float() / 255.0
        batch = batch.flip(3) if step % 2 else batch
        scores = found(degrade(batch) if torch.rand(()) < 0.5 else batch)
        loss = torch.stack(
            [
                F.cross_entropy(scores[name], truth[chosen, column], ignore_index=UNSAID, label_smoothing=0.02)
                for column, name in enumerate(CLASSES)
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of two sets of features (N, C) and (M, C), each taken as normal."""
    a, b = a.double(), b.double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    first, second = torch.cov(a.T), torch.cov(b.T)
    root = _root(first)
    mixed = _root(root @ second @ root)
    return float(means + first.trace() + second.trace() - 2 * mixed.trace())


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.train.judge", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = judge(options.folder)
    images, facts = held_out(options.folder)
    truth = labels(facts)
    plain = truth[:, -1] == 0
    for name, rows in (("plain", plain), ("styled", ~plain)):
        print(name, {k: round(v, 3) for k, v in found.accuracy(images[rows], truth[rows]).items()})


if __name__ == "__main__":
    main()
