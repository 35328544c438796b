"""Two small networks that look at a result: whose portrait is it, and which of the 14 kinds of style?

They are trained on pictures from the renderer only: the twelve people of a part of `pairs` in training styles, and
many other people in training styles. Each sees shifted, blurred, coarsened and recoloured copies, so that it judges
what is drawn rather than a palette or the sharpness of one codec.

    cd benchmarks; python3 -m truth.classifiers FOLDER    # train, and print the accuracies on the held-out pairs
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demo.render import render, scene
from demo.render.styles import KINDS, apply, style
from demo.train.dataset import STYLE_SEEDS
from demo.train.variation import crop, degrade, move, recolor, turn, weaken

from .pairs import IDENTITIES, Part, pairs, people

VERSION = 2  # raise it when the networks, their training or the renderer's pictures change
SIZE = 64  # pixels; larger pictures are averaged down to it
CROP = 44  # pixels that the network of styles sees in training; texture is everywhere
SITTINGS = 18 * 14  # pictures of each of the twelve people
PEOPLE = {64: 600, 128: 150}  # other people drawn at these sizes: a reduced picture is softer than one drawn small
STYLES_EACH = 12
BATCH, RATE = 64, 3e-3
PASSES_PEOPLE, PASSES_STYLES = 3, 9


def network(classes: int, grid: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Pictures (B, 3, H, W) to scores (B, classes). `grid`: the head sees the last features averaged to grid x grid,
    1 where only the texture counts, 4 where the place of things does."""
    layers: list[nn.Module] = []
    for i, (inner, outer) in enumerate(zip((3, *widths), widths, strict=False)):
        layers += [nn.Conv2d(inner, outer, 5 if i == 0 else 3, 2, 2 if i == 0 else 1, bias=False)]
        layers += [nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Dropout(0.2), nn.Linear(widths[-1] * grid**2, classes)
    )


@dataclass(frozen=True, eq=False)
class Classifiers:
    """The trained networks. Images are (B, S, S, 3) in 0..1, S at least 64."""

    people: nn.Module
    styles: nn.Module

    def identity(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Labels 0..11 (B,): `Pair.identity` of the most likely person."""
        return _labels(self.people, images, mirrored=False)

    def style(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices into KINDS (B,) of the most likely kind of style."""
        return _labels(self.styles, images, mirrored=True)


def train(size: int, folder: Path, part: Part = "development") -> Classifiers:
    """Classifiers for pictures of `size` pixels, for the people of a part of the pairs; from `folder`, or trained and
    stored there. The same networks serve all sizes from 64 on."""
    if size < SIZE:
        raise ValueError(f"The classifiers need pictures of at least {SIZE} pixels; got {size}.")
    return Classifiers(train_people(folder, part), train_styles(folder))


@torch.inference_mode(False)  # whatever the caller's mode, weights made here can be trained
def train_people(folder: Path, part: Part) -> nn.Module:
    """The network of identities, from `folder` or trained and stored there."""
    net = network(IDENTITIES, 4, (32, 64, 96, 128))
    return _kept(net, folder / f"people-{part}-v{VERSION}.safetensors", lambda: _train_people(net, part))


@torch.inference_mode(False)
def train_styles(folder: Path) -> nn.Module:
    """The network of kinds of style, from `folder` or trained and stored there."""
    net = network(len(KINDS), 1, (40, 80, 112, 144))
    return _kept(net, folder / f"styles-v{VERSION}.safetensors", lambda: _train_styles(net))


def _kept(net: nn.Module, file: Path, train: Callable[[], None]) -> nn.Module:
    if file.exists():
        net.load_state_dict(load_file(file))
    else:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(VERSION)
            train()
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in net.state_dict().items()}, file)
    net.train(False)
    return net


def _train_people(net: nn.Module, part: Part) -> None:
    sitters = [render(scene(seed), SIZE)[0] for seed in people(part)]
    plain = _planes(np.stack(sitters))
    known, names, _ = _drawn(sitters, SITTINGS, 0)
    _fit(net, known, names, PASSES_PEOPLE, lambda x, y: degrade(weaken(move(x, 3), plain[y])))


def _train_styles(net: nn.Module) -> None:
    crowd, kinds = _crowd(IDENTITIES * SITTINGS)
    _fit(net, crowd, kinds, PASSES_STYLES, lambda x, _: degrade(recolor(turn(crop(x, CROP)))))


def _crowd(first: int) -> tuple[Tensor, Tensor]:
    """Many people in training styles from seed `first` on: uint8 (N, 3, 64, 64), and the numbers of the kinds (N,)."""
    images, kinds, person = [], [], 0
    for size, count in PEOPLE.items():
        faces = (render(scene(i), size)[0] for i in range(person, person + count))
        drawn, _, labels = _drawn(faces, STYLES_EACH, first)
        images.append(drawn)
        kinds.append(labels)
        person, first = person + count, first + len(drawn)
    return torch.cat(images), torch.cat(kinds)


def _drawn(faces, each: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every face in `each` training styles, kinds in turn: uint8 (N, 3, 64, 64), the number of the face (N,) and the
    number of the kind (N,). `first`: where the style seeds begin."""
    images, places, kinds = [], [], []
    for place, face in enumerate(faces):
        for _ in range(each):
            index = first + len(images)
            kind = index % len(KINDS)
            image = _planes(apply(style(STYLE_SEEDS + index, KINDS[kind]), face)[None])
            images.append((image * 255.0 + 0.5).to(torch.uint8))
            places.append(place)
            kinds.append(kind)
    return torch.cat(images), torch.tensor(places), torch.tensor(kinds)


def _fit(net: nn.Module, images: Tensor, labels: Tensor, passes: int, vary: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Train `net` on `images` (N, 3, 64, 64) uint8; `vary` makes each batch anew from pictures and labels."""
    net.apply(_start)
    net.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    net.train()
    steps = passes * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.15)
    order = torch.cat([torch.randperm(len(images))[: steps // passes * BATCH] for _ in range(passes)])
    for chosen in order.split(BATCH):
        batch = vary(images[chosen].float() / 255.0, labels[chosen])
        loss = F.cross_entropy(net(batch * 2.0 - 1.0), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()


def _start(module: nn.Module) -> None:
    """Draw the weights under the seed of the training, not under the caller's."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.reset_parameters()


def _planes(images: NDArray[np.float32]) -> Tensor:
    """(B, S, S, 3) to (B, 3, 64, 64), averaged down."""
    return F.interpolate(torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2), size=SIZE, mode="area")


@torch.no_grad()
def _labels(net: nn.Module, images: NDArray[np.float32], mirrored: bool) -> NDArray[np.int64]:
    planes = _planes(images) * 2.0 - 1.0
    return (net(planes) + net(planes.flip(3)) if mirrored else net(planes)).argmax(1).numpy()


def main(folder: Path) -> None:
    """Train if need be, and print the accuracies at 64 and 128 pixels."""
    for part, size in product(get_args(Part), (64, 128)):
        found, rows = train(size, folder, part), pairs(size, part=part)
        identities, kinds = np.array([p.identity for p in rows]), np.array([KINDS.index(p.kind) for p in rows])
        whose = float(np.mean(found.identity(np.stack([p.truth for p in rows])) == identities))
        print(f"{part}, {size} px: identity of truths {whose:.1%}", end="")
        for name in ("truth", "aligned", "misaligned"):
            right = found.style(np.stack([getattr(p, name) for p in rows])) == kinds
            print(f", style of {name} {float(np.mean(right)):.1%}", end="")
        print(flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
