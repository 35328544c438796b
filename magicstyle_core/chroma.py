"""Colour of pictures apart from their light: the lightness of one picture under the colours of another.

Lightness and colour are L and (a, b) of CIELAB (1976, D65, of sRGB). This is for finished pictures: channels of latents
mix light and colour.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Linear sRGB to XYZ (IEC 61966-2-1), each row divided by its sum, so that white is (1, 1, 1). The second is luminance.
_XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=torch.float64
)
_TO_XYZ = _XYZ / _XYZ.sum(1, keepdim=True)
# Of the cube root and of the line that takes its place near black (CIE 15:2004).
_BEND = 6 / 29


def keep_colors(image: Tensor, content: Tensor, strength: float = 1.0) -> Tensor:
    """``image (B,3,H,W)`` in 0..1 as light as it is, in the colours of ``content (B or 1,3,h,w)`` place by place.

    Strength 0 returns the picture as it is, 1 takes all colour from the content. The content is scaled to the picture.
    A colour that sRGB does not have at the picture's lightness is paled towards grey until it does: clipping its
    channels would change the lightness, and with it the drawing.
    """
    if strength == 0:
        return image
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    wanted = F.interpolate(content.to(wide), image.shape[2:], mode="bilinear", antialias=True)
    light, own = _lab(wide)
    _, other = _lab(wanted)
    return _encoded(_paled(_from_lab(light, own + strength * (other - own)))).to(image)


def _lab(image: Tensor) -> tuple[Tensor, Tensor]:
    """L ``(B,1,H,W)`` and a, b ``(B,2,H,W)`` of sRGB, all divided by 100."""
    x, y, z = _bent(_mixed(_linear(image.clamp(0, 1)), _TO_XYZ)).unbind(1)
    return (1.16 * y - 0.16)[:, None], torch.stack([5 * (x - y), 2 * (y - z)], 1)


def _from_lab(light: Tensor, colors: Tensor) -> Tensor:
    """Linear RGB ``(B,3,H,W)``, below 0 or above 1 where sRGB ends."""
    y = (light[:, 0] + 0.16) / 1.16
    bent = torch.stack([y + colors[:, 0] / 5, y, y - colors[:, 1] / 2], 1)
    return _mixed(_straight(bent), torch.linalg.inv(_TO_XYZ))


def _paled(linear: Tensor) -> Tensor:
    """Linear RGB mixed with the grey of the same luminance, as little as brings every channel into 0..1."""
    grey = _mixed(linear, _TO_XYZ[1:2]).clamp(0, 1)
    color = linear - grey
    room = torch.where(color > 0, 1 - grey, grey) / color.abs().clamp_min(torch.finfo(linear.dtype).tiny)
    return (grey + room.amin(1, keepdim=True).clamp_max(1) * color).clamp(0, 1)


def _mixed(channels: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix.to(channels), channels)


def _linear(encoded: Tensor) -> Tensor:
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def _bent(xyz: Tensor) -> Tensor:
    line = xyz / (3 * _BEND**2) + 4 / 29
    return torch.where(xyz > _BEND**3, xyz.clamp_min(_BEND**3) ** (1 / 3), line)


def _straight(bent: Tensor) -> Tensor:
    return torch.where(bent > _BEND, bent**3, 3 * _BEND**2 * (bent - 4 / 29))
