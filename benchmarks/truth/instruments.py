"""Bounds of what everything else stands on: the codec, inversion, and the recognizer of faces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from demo.network import Network
from demo.render.fields import Field
from demo.train.natural import PHOTOGRAPHS
from magicstyle_core.sampling.ddim import Exact, FixedPoint

from .bounds import Bound, decided
from .faces import Recognizer
from .measures import psnr
from .pairs import UNSEEN, photographs
from .study import planes

BLUR, BRIGHTER = 1.0, 1.2  # of the copies in which a face must be known again: pixels, factor


def reconstruction(network: Network, rendered: Sequence[Field], size: int, steps: int) -> list[Bound]:
    """Bounds of codec and inversion, on rendered portraits and on the photographs."""
    bounds = []
    trained, unseen = ([p for _, p in photographs(size, files)] for files in (PHOTOGRAPHS, UNSEEN))
    sets = (("rendered", rendered, 30), ("photographs", trained, 32), ("photographs never trained on", unseen, 32))
    for name, images, least in sets:
        given = planes(images)
        coded = network.codec.decode(network.codec.encode(given))
        error = [psnr(a, b) for a, b in zip(given.numpy(), coded.numpy(), strict=True)]
        bounds.append(_decibels(f"codec, {name}", error, least))
        for method, floor in ((Exact(), 60), (FixedPoint(1), 44)):
            back = network.stylize(network.invert(given, steps, method))
            error = [psnr(a, b) for a, b in zip(back.numpy(), coded.numpy(), strict=True)]
            bounds.append(_decibels(f"{method} and back against the codec's picture, {name}", error, floor))
            if method == Exact():
                again = network.stylize(network.invert(given, steps, method))
                equal = bool(torch.equal(back, again))
                bounds.append(decided(f"two runs, {name}", "bit-equal" if equal else "different", "bit-equal", equal))
    return bounds


def recognition(recognizer: Recognizer, rendered: Sequence[Field], size: int) -> Bound:
    """A photograph and its blurred, mirrored and brightened copies are nearer than any two different people."""
    people = [recognizer.find(picture) for _, picture in photographs(size, (*PHOTOGRAPHS, *UNSEEN))]
    pictures = [picture for _, picture in photographs(size, (*PHOTOGRAPHS, *UNSEEN))]
    seen = sum(recognizer.find(picture) is not None for picture in rendered)
    told = f"rendered people found: {seen} of {len(rendered)}"
    figure, bound = "recognizer: distance of copies of a photograph / of different people", "less, all found"
    copies = [[recognizer.find(copy) for copy in _copies(picture)] for picture in pictures]
    faces = [[face, *others] for face, others in zip(people, copies, strict=True)]
    if any(face is None for group in faces for face in group):
        return decided(figure, f"a face was not found; {told}", bound, False)
    own = max(_apart(group[0], copy) for group in faces for copy in group[1:])
    between = min(_apart(a[0], b[0]) for a, b in combinations(faces, 2))
    return decided(figure, f"at most {own:.2f} / at least {between:.2f}; {told}", bound, own < between)


def _copies(picture: Field) -> list[Field]:
    blurred = gaussian_filter(picture, (BLUR, BLUR, 0))
    return [blurred, picture[:, ::-1], np.clip(picture * np.float32(BRIGHTER), 0, 1)]


def _apart(one, other) -> float:
    return float(np.linalg.norm(one.descriptor - other.descriptor))


def _decibels(figure: str, values: list[float], least: float) -> Bound:
    mean = sum(values) / len(values)
    told = f"{mean:.1f} ({min(values):.1f} to {max(values):.1f})"
    return decided(f"{figure}, dB", told, f">= {least}", mean >= least)
