"""The portrait's own colours in a stylized picture, as a node."""

from __future__ import annotations

import torch
from torch import Tensor

from comfy_api.latest import io

from ..magicstyle_core.chroma import keep_colors
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
        colored = keep_colors(_planes(image), _planes(content), strength).movedim(1, -1)
        return io.NodeOutput(torch.cat([colored, image[..., 3:]], -1))


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
