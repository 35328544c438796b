"""Methods without learning, as baselines: transfer of colour statistics, of histograms, of patches."""

from __future__ import annotations

import warnings

import numpy as np
from skimage import exposure
from skimage.color import lab2rgb

from ..render.fields import Field
from .measures import lab


def reinhard(content: Field, style: Field) -> Field:
    """The content (S, S, 3) with mean and deviation of the style in each Lab channel, clipped to 0..1.

    E. Reinhard, M. Ashikhmin, B. Gooch, P. Shirley: Color Transfer between Images. IEEE CG&A 21(5), 2001.
    """
    own, wanted = lab(content), lab(style)
    factor = wanted.std((0, 1)) / np.maximum(own.std((0, 1)), 1e-3)
    return _rgb((own - own.mean((0, 1))) * factor + wanted.mean((0, 1)))


def match_histograms(content: Field, style: Field) -> Field:
    """The content (S, S, 3) with the style's histogram in each of red, green and blue."""
    return exposure.match_histograms(content, style, channel_axis=-1).astype(np.float32)


def _rgb(colors: Field) -> Field:
    """Lab (H, W, 3) to an image; what lies outside of 0..1 is clipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that colours were clipped, which is the intention
        return np.clip(lab2rgb(colors), 0.0, 1.0).astype(np.float32)
