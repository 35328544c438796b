"""The portrait's own colours in a stylized picture, as a node."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from comfy_api.latest import io

from .types import CATEGORY

# Encoders cut sides to whole cells, so a picture's proportions may be a little off its portrait's.
STRETCH = 0.05


class KeepColors(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_KeepColors",
            display_name="Keep Colors",
            category=CATEGORY,
            description="Gives a stylized picture the portrait's own colours. Its lightness stays, and with it strokes, "
            "dots and lines: the style without its palette.",
            search_aliases=["color preservation", "keep content colors", "luminance only", "restore colors", "preserve color"],
            inputs=[
                io.Image.Input("image", tooltip="The stylized picture, from VAE Decode."),
                io.Image.Input("content", tooltip="The portrait as it was given to VAE Encode: one for all pictures, or one for each. It may be larger or smaller, with the same crop."),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1.0, step=0.05,
                    tooltip="How far colours move from the picture's to the portrait's. Raising it brings back more of the portrait's; 0 leaves the picture as it is.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The stylized picture in the portrait's colours.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, content, strength) -> io.NodeOutput:
        _check(image, content)
        colors = max(image.shape[-1], 3)
        colored = image.new_empty((*image.shape[:3], colors))
        for number in range(len(image)):  # one by one: the steps between take several times the memory of a picture
            own, wanted = image[number : number + 1], content[min(number, len(content) - 1)][None]
            colored[number, ..., :3] = keep_colors(_planes(own), _planes(wanted), strength)[0].movedim(0, -1)
        colored[..., 3:] = image[..., 3:]
        return io.NodeOutput(colored)


def keep_colors(image: Tensor, content: Tensor, strength: float = 1.0) -> Tensor:
    """``image (B,3,H,W)`` in 0..1 as light as it is, in the colours of ``content (B or 1,3,h,w)`` place by place.

    Light and colour are L and (a, b) of CIELAB. Strength 0 returns the picture as it is, 1 takes all colour from the
    content, which is scaled to the picture. A colour that sRGB does not have at the picture's lightness is paled towards
    grey until it does: clipping its channels would change the lightness, and with it the drawing.
    """
    from kornia.color import lab_to_rgb, linear_rgb_to_rgb, rgb_to_lab, rgb_to_linear_rgb, rgb_to_xyz  # slow to import

    if strength == 0:
        return image
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    wanted = F.interpolate(content.to(wide), image.shape[2:], mode="bilinear", antialias=True)
    own, other = rgb_to_lab(wide.clamp(0, 1)), rgb_to_lab(wanted.clamp(0, 1))
    lab = torch.cat([own[:, :1], torch.lerp(own[:, 1:], other[:, 1:], strength)], 1)
    linear = rgb_to_linear_rgb(lab_to_rgb(lab, clip=False))
    return linear_rgb_to_rgb(_paled(linear, rgb_to_xyz(linear)[:, 1:2].clamp(0, 1))).to(image)


def _paled(linear: Tensor, grey: Tensor) -> Tensor:
    """Linear RGB mixed with the grey of its luminance, as little as brings every channel into 0..1."""
    color = linear - grey
    room = torch.where(color > 0, 1 - grey, grey) / color.abs().clamp_min(torch.finfo(linear.dtype).tiny)
    return (grey + room.amin(1, keepdim=True).clamp_max(1) * color).clamp(0, 1)


def _check(image: Tensor, content: Tensor) -> None:
    if len(content) not in (1, len(image)):
        raise ValueError(
            f"There are {len(content)} portraits for {len(image)} stylized pictures. Give one for all, or one for each."
        )
    (height, width), (high, wide) = image.shape[1:3], content.shape[1:3]
    if abs(width * high / (height * wide) - 1) > STRETCH:
        raise ValueError(
            f"The portrait is {wide}x{high} and the stylized picture {width}x{height}: their proportions differ, so colours "
            "would lie beside what they belong to. Connect the portrait as it was given to VAE Encode, after scaling and cropping."
        )


def _planes(image: Tensor) -> Tensor:
    """``(B,3,H,W)`` of an IMAGE ``(B,H,W,C)``; transparency is left out, grey has three equal channels."""
    return image[..., :3].expand(*image.shape[:3], 3).movedim(-1, 1)
