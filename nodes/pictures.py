"""Pictures that stand for a bank: small, 8-bit, and as the JPEG that its file carries."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..magicstyle_core.text import plain

LARGEST = 256  # pixels of the longer side: the host's library reads a header of a megabyte at most
QUALITY = 85
LONGEST = 200_000  # characters of a data URI; noise of the largest size takes half of it
URI = "data:image/jpeg;base64,"
SCAN, PROGRESSIVE = b"\xff\xda", b"\xff\xc2"  # marks in a JPEG; in its numbers a zero follows every 255


def eight_bit(image: Tensor) -> Tensor:
    """``(B,H,W,3)`` uint8 of an IMAGE in 0..1."""
    colors = image[..., :3].float().cpu().nan_to_num().clamp(0, 1)
    return (colors.expand(*colors.shape[:-1], 3) * 255).round().to(torch.uint8)


def as_image(picture: Tensor | None) -> Tensor:
    """An IMAGE ``(1,h,w,3)`` of a picture ``(h,w,3)`` uint8; black for None."""
    return torch.zeros(1, 64, 64, 3) if picture is None else picture[None].float() / 255


def to_uri(picture: Tensor) -> str:
    """A picture ``(h,w,3)`` uint8, at most 256 pixels large, as JPEG in a data URI."""
    image = Image.fromarray(picture.contiguous().numpy())
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return URI + base64.b64encode(file.getvalue()).decode()


def from_uri(uri: str) -> Tensor:
    """The picture ``(h,w,3)`` uint8 in a data URI; ``ValueError`` if it is not what :func:`to_uri` makes."""
    try:
        if not uri.startswith(URI):
            raise ValueError("no JPEG as data URI")
        if len(uri) > LONGEST:
            raise ValueError(f"{len(uri)} characters; at most {LONGEST} are expected")
        data = base64.b64decode(uri.removeprefix(URI), validate=True)
        if data.count(SCAN) != 1 or PROGRESSIVE in data:  # each scan goes over the whole picture again
            raise ValueError(f"a JPEG of {data.count(SCAN)} scans; one is expected")
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if max(image.size) > LARGEST:
                raise ValueError(f"{image.width} x {image.height} pixels; at most {LARGEST} are expected")
            return torch.from_numpy(np.array(image.convert("RGB")))
    except (OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(plain(str(error))) from error
