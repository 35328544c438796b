"""Methods without learning, as baselines: transfer of colour statistics, of histograms, of patches."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import exposure
from skimage.color import lab2rgb

from demo.render.fields import Field

from .measures import lab

PIECES = (0.14, 0.09)  # sides of the pieces of each pass, as fractions of the picture's side
GUIDANCE = 0.8
TONE = 3.0  # brightness is one number of a pixel's three
AGAIN = 0.3  # how much the previous pass counts where this pass has laid nothing yet
BLUR = 0.012  # fraction of the side


def reinhard(content: Field, style: Field) -> Field:
    """The content (S, S, 3) with mean and deviation of the style in each Lab channel, clipped to 0..1.

    E. Reinhard, M. Ashikhmin, B. Gooch, P. Shirley: Color Transfer between Images. IEEE CG&A 21(5), 2001.
    """
    own, wanted = lab(content), lab(style)
    factor = wanted.std((0, 1)) / np.maximum(own.std((0, 1)), 1e-3)
    return _rgb((own - own.mean((0, 1))) * factor + wanted.mean((0, 1)))


def monge_kantorovich(content: Field, style: Field) -> Field:
    """The content (S, S, 3) with the style's mean and covariance of Lab colours, clipped to 0..1.

    The map between the two Gaussians that moves colours least: F. Pitie, A. Kokaram: The linear Monge-Kantorovitch
    linear colour mapping for example-based colour transfer. CVMP 2007. ComfyUI's Transfer Color has it as `mkl_lab`.
    """
    own, wanted = (lab(image).reshape(-1, 3).astype(np.float64) for image in (content, style))
    half = _root(np.cov(own.T) + 1e-3 * np.eye(3))
    inverse = np.linalg.inv(half)
    matrix = inverse @ _root(half @ np.cov(wanted.T) @ half) @ inverse
    return _rgb(((own - own.mean(0)) @ matrix + wanted.mean(0)).reshape(content.shape))


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def match_histograms(content: Field, style: Field) -> Field:
    """The content (S, S, 3) with the style's histogram in each of red, green and blue."""
    return exposure.match_histograms(content, style, channel_axis=-1).astype(np.float32)


def _rgb(colors: Field) -> Field:
    """Lab (H, W, 3) to an image; what lies outside of 0..1 is clipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that colours were clipped, which is the intention
        return np.clip(lab2rgb(colors), 0.0, 1.0).astype(np.float32)


def patch_texture(content: Field, style: Field, guidance: float = GUIDANCE) -> Field:
    """The content (S, S, 3) quilted from square pieces of the style (S, S, 3), which keep its strokes as they are.

    A. Efros, W. Freeman: Image Quilting for Texture Synthesis and Transfer. SIGGRAPH 2001. Pieces are laid in rows;
    each is the piece of the style that fits best to what lies there already and to the content's brightness, and is
    joined along the cheapest cut. A pass with finer pieces follows, which also fits the picture of the pass before.
    `guidance`, 0..1: weight of the content's brightness against the fit of the pieces.
    """
    size = len(content)
    aim = _brightness(match_histograms(content, style))
    pieces, shades = lab(style), _brightness(style)
    drawn: Field | None = None
    for part in PIECES:
        drawn = _quilt(aim, pieces, shades, max(4, round(part * size)), guidance, drawn)
    assert drawn is not None
    return _rgb(drawn)


def _brightness(image: Field) -> Field:
    """L (S, S) without strokes: by this, content and style are compared."""
    return gaussian_filter(lab(image)[..., 0], BLUR * len(image), mode="nearest")


def _quilt(aim: Field, pieces: Field, shades: Field, side: int, guidance: float, before: Field | None) -> Field:
    """One pass: Lab (S, S, 3) in pieces of `side` pixels. aim, shades: brightness of content and style (S, S);
    pieces: the style in Lab; before: the previous pass."""
    size, lap = len(aim), max(2, side // 3)
    hop = max(1, len(pieces) // 64)  # about 3600 pieces to choose from at every size
    stock = _cut_out(pieces, side, hop)  # (N, side, side, 3)
    flat, tones = stock.reshape(len(stock), -1), _cut_out(shades[..., None], side, hop).reshape(len(stock), -1)
    squares, tone_squares = flat**2, (tones**2).sum(1)
    drawn = np.zeros((size, size, 3), np.float32) if before is None else before.copy()
    starts = sorted({*range(0, size - side, side - lap), size - side})
    for top in starts:
        for left in starts:
            window = (slice(top, top + side), slice(left, left + side))
            laid = np.zeros((side, side), bool)  # what earlier pieces of this pass have covered
            laid[: lap if top else 0] = laid[:, : lap if left else 0] = True
            weight = np.maximum(laid, 0.0 if before is None else AGAIN).astype(np.float32)
            mask = np.repeat(weight.ravel(), 3)
            fit = squares @ mask - 2.0 * (flat @ (mask * drawn[window].ravel()))
            tone = tone_squares - 2.0 * (tones @ aim[window].ravel())
            best = stock[np.argmin((1.0 - guidance) * fit + guidance * TONE * tone)]
            drawn[window] = _join(drawn[window], best, lap if left else 0, lap if top else 0)
    return drawn


def _cut_out(image: Field, side: int, hop: int) -> Field:
    """Every `hop`-th square of `image` (S, S, C): (N, side, side, C)."""
    windows = sliding_window_view(image, (side, side), axis=(0, 1))[::hop, ::hop]
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2).reshape(-1, side, side, image.shape[2]))


def _join(old: Field, new: Field, left: int, top: int) -> Field:
    """`new` laid over `old` (side, side, 3) with a cut through the first `left` columns and the first `top` rows."""
    keep = np.zeros(old.shape[:2], bool)
    error = np.square(old - new).sum(-1)
    if left:
        keep[:, :left] |= _before_cut(error[:, :left])
    if top:
        keep[:top] |= _before_cut(error[:top].T).T
    return np.where(keep[..., None], old, new)


def _before_cut(error: Field) -> NDArray[np.bool_]:
    """Pixels (rows, lap) to the left of the cheapest path from the first row to the last."""
    rows, lap = error.shape
    cost = error.copy()
    for y in range(1, rows):
        above = np.pad(cost[y - 1], 1, constant_values=np.inf)
        cost[y] += np.minimum(np.minimum(above[:-2], above[2:]), above[1:-1])
    path = np.empty(rows, np.int64)
    path[-1] = cost[-1].argmin()
    for y in range(rows - 2, -1, -1):
        low = max(0, path[y + 1] - 1)
        path[y] = low + cost[y, low : path[y + 1] + 2].argmin()
    return np.arange(lap) < path[:, None]
