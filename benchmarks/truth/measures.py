"""How near two pictures are: to the truth (PSNR, SSIM), in structure, in colour, in texture.

Distances of colour and texture compare clouds of points by the sliced 1-Wasserstein distance: both clouds are
projected on fixed random directions, and along each direction the mean distance of equal quantiles is taken, so that
pictures of unequal size compare. They are scaled to Lab units: a shift of all colours by d reads d, on average over
the directions of the shift.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import idctn
from scipy.ndimage import uniform_filter
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from demo.render.fields import Field, luma

COLOR_DIRECTIONS = 32
PATCH_DIRECTIONS = 64
TEXTURE_DIRECTIONS = 64
PATCH = 7  # pixels
BINS = 1024  # of the projections' common range
FLAT = 0.25  # Lab units; a channel that varies less inside patches is rounding, not texture


def psnr(a: Field, b: Field) -> float:
    """Peak signal-to-noise ratio in dB; 100 for equal pictures."""
    return float(-10.0 * np.log10(max(float(np.mean(np.square(a - b))), 1e-10)))


def ssim(a: Field, b: Field) -> float:
    """Structural similarity of the colour pictures, at most 1."""
    return float(structural_similarity(a, b, data_range=1.0, channel_axis=-1))


def gradient_ssim(a: Field, b: Field) -> float:
    """SSIM of the gradient magnitude of luma, at most 1: the drawing without its colours and tones."""
    return float(structural_similarity(_gradient(a), _gradient(b), data_range=1.0))


def structure_within(image: Field, content: Field, mask: Field) -> float:
    """Gradient SSIM to the content within a soft mask (S, S) in 0..1, at most 1; NaN if the mask is empty."""
    if not mask.any():
        return float("nan")
    _, local = structural_similarity(_gradient(image), _gradient(content), data_range=1.0, full=True)
    return float(np.average(local, weights=mask))


def color_distance(a: Field, b: Field) -> float:
    """Distance between the clouds of Lab pixels, in Lab units. The pictures may differ in size."""
    clouds = (lab(image).reshape(-1, 3).T for image in (a, b))
    return _sliced(*clouds, directions(3, COLOR_DIRECTIONS)) / _mean_projection(3)


def patch_distance(a: Field, b: Field, patch: int = PATCH) -> float:
    """Distance between the clouds of all `patch` x `patch` Lab patches, in Lab units. Sizes may differ.

    A shift of the whole picture by d moves a patch of n numbers by d * patch; dividing by the mean projection of such
    a vector makes that read d, as in `color_distance`.
    """
    n = 3 * patch * patch
    clouds = (_patches(lab(image), patch).reshape(n, -1) for image in (a, b))
    return _sliced(*clouds, directions(n, PATCH_DIRECTIONS)) / (patch * _mean_projection(n))


def texture_distance(a: Field, b: Field, patch: int = PATCH) -> float:
    """Patch distance of `a` to the style `b` without colour, in percent of the style's texture (rms of projections).

    Each patch loses its mean colour, and each Lab channel of `a` is scaled to the deviation it then has in `b`. Colour
    transfer that acts on a Lab channel by a factor and an offset (Reinhard's, say) therefore leaves the distance as it
    is: strokes, dots, lines and edges count, by shape and scale, not by contrast.
    """
    colors = [lab(image) for image in (a, b)]
    own, wanted = (np.maximum(_deviation(c, patch), FLAT) for c in colors)
    n = 3 * patch * patch
    clouds = (_patches(c, patch).reshape(n, -1) for c in (colors[0] * (wanted / own), colors[1]))
    along = wave_directions(patch, TEXTURE_DIRECTIONS)  # without mean: the patches' mean colours drop out
    texture = math.sqrt(float(np.square(wanted).mean()))  # rms of a projection: the directions favour no wave
    return 100.0 * _sliced(*clouds, along) / texture


def lab(image: Field) -> Field:
    """Lab of an image in 0..1: L in 0..100, a and b about -100..100; float32 (H, W, 3)."""
    return rgb2lab(np.clip(image, 0.0, 1.0).astype(np.float32)).astype(np.float32)


@lru_cache(maxsize=16)
def directions(dimension: int, count: int) -> Field:
    """Fixed random unit vectors (count, dimension)."""
    drawn = np.random.default_rng(dimension).normal(size=(count, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=16)
def wave_directions(patch: int, count: int) -> Field:
    """Fixed unit vectors (count, 3 * patch * patch), each two random cosine waves, without mean, in a random colour.

    Textures differ by which waves they hold and how peaked those are. A direction that mixes all waves sees only sums,
    which look alike: of 84 truths it finds 69 % nearer to a reference in their own style than to any in the 13 other
    kinds, two waves find 94 %.
    """
    r = np.random.default_rng(patch)
    found = []
    for _ in range(count):
        spectrum = np.zeros(patch * patch)
        spectrum[1 + r.choice(patch * patch - 1, 2, replace=False)] = r.normal(size=2)
        wave = idctn(spectrum.reshape(patch, patch), norm="ortho").ravel()
        found.append(np.outer(r.normal(size=3), wave).ravel())
    return (np.stack(found) / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def _gradient(image: Field) -> Field:
    return np.hypot(*np.gradient(luma(image)))


def _patches(colors: Field, patch: int) -> Field:
    """All overlapping patches of a Lab picture: (3, patch * patch, N); patches last, so that projections are rows."""
    windows = sliding_window_view(colors, (patch, patch), axis=(0, 1))
    return windows.transpose(2, 3, 4, 0, 1).reshape(3, patch * patch, -1)


def _deviation(colors: Field, patch: int) -> Field:
    """Rms deviation (3,) of each channel from the mean of its patch, over all patches of a Lab picture."""
    inner, outer = patch // 2, -(patch - patch // 2 - 1) or None
    places = (slice(inner, outer),) * 2
    mean, square = (uniform_filter(c.astype(np.float64), (patch, patch, 0))[places] for c in (colors, colors**2))
    return np.sqrt(np.maximum(square - mean**2, 0.0).mean((0, 1))).astype(np.float32)


def _mean_projection(dimension: int) -> float:
    """Mean of |u . e| for a fixed unit vector e and random unit vectors u."""
    return math.gamma(dimension / 2) / (math.sqrt(math.pi) * math.gamma((dimension + 1) / 2))


def _sliced(a: Field, b: Field, along: Field) -> float:
    """Mean over the directions `along` (K, D) of the 1-Wasserstein distance between projections of (D, N) and (D, M).

    That is the area between the two distribution functions, here of histograms, which is faster than sorting.
    """
    first, second = along @ a, along @ b
    low = np.minimum(first.min(1), second.min(1))
    width = np.maximum((np.maximum(first.max(1), second.max(1)) - low) / BINS, 1e-6)
    between = _cumulative(first, low, width) - _cumulative(second, low, width)
    return float((np.abs(between).sum(1) * width).mean())


def _cumulative(values: Field, low: Field, width: Field) -> NDArray[np.float64]:
    """Share of each row of `values` (K, N) up to each of its bins, which start at `low` (K,): (K, BINS)."""
    place = np.minimum((values - low[:, None]) / width[:, None], BINS - 1).astype(np.int64)
    place += np.arange(len(values))[:, None] * BINS
    counts = np.bincount(place.ravel(), minlength=len(values) * BINS).reshape(-1, BINS)
    return counts.cumsum(1) / values.shape[1]
