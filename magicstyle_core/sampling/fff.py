"""Feature Fusion Forward (MagicStyle, arXiv 2409.08156): the way back from the content's noise.

What the network attends to on the way is not decided here. This is everything else that makes the picture: the
residuals of inversion, and the style's colours and pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import Tensor

from ..bank.trajectory import Trajectory
from .color import adain, transport
from .ddim import Callback, Denoiser, sample
from .texture import TextureSwap

Color = Literal["match", "adain", "none"]


@dataclass(frozen=True)
class Look:
    """How a way back begins and ends.

    ``color``: "match" gives the finished latent mean and covariance of the style's, "adain" the initial noise mean and
    deviation of the style's noise, by ``color_strength``; ``detail`` is the share of inversion's residuals that is
    given back, ``texture`` the share of pieces laid anew, ``skipped`` the part of the content's way that is left out at
    the noise.
    """

    color: Color = "match"
    color_strength: float = 1.0
    detail: float = 1.0
    texture: float = 0.75
    skipped: float = 0.0

    def at(self, strength: StyleStrength) -> Look:
        """With weaker colours and fewer pieces."""
        share = strength.look
        return replace(self, color_strength=self.color_strength * share, texture=self.texture * share)


class StyleStrength(NamedTuple):
    """One dial for the whole style: 0 is reconstruction, 1 what all settings say, 2 the most that brings the picture
    closer to the style.

    Above 1 colours have arrived and attention goes on, half as fast: on the demo model colour and texture come closer
    to the style up to fused attention of strength 1.5, and not any more at 2 (means of 24 pairs, docs/quality.md).
    """

    value: float = 1.0

    @property
    def attention(self) -> float:
        """What multiplies the strength of fused attention."""
        return self.value if self.value <= 1 else 1 + (self.value - 1) / 2

    @property
    def look(self) -> float:
        """What multiplies the shares of the style's colours and pieces."""
        return min(self.value, 1.0)


@dataclass(frozen=True, eq=False)
class FeatureFusionForward:
    """A sampler ``(model, x (B,C,H,W), sigmas, callback) -> x0`` in k-diffusion's form.

    ``content`` gives its residuals and, where steps are skipped, the latent to begin at; ``style`` its colours and
    pieces. Without them it is plain DDIM. ``ValueError`` if a trajectory does not lie along ``sigmas``.
    """

    content: Trajectory | None = None
    style: Trajectory | None = None
    look: Look = Look()

    def __call__(self, model: Denoiser, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
        if sigmas[0] <= sigmas[-1]:
            raise ValueError("The DDIM Sampler goes from noise to picture. To go up, use DDIM Inversion.")
        look, content, style, residuals, swap = self.look, self.content, self.style, None, None
        skipped = self._skipped_steps(sigmas)
        sigmas = sigmas[skipped:]
        if content is not None:
            start = _start_of(content, "content", sigmas, x)
            residuals = content.residuals_down(start)
            x = content.latents[start].to(x).expand_as(x) if skipped else x
        if style is not None and (look.color != "none" or look.texture):
            start = _start_of(style, "style", sigmas, x)
            colors = 0.0 if look.color == "none" else look.color_strength
            swap = TextureSwap(style.latents[0], sigmas, look.texture, colors)
            x = adain(x, style.latents[start], look.color_strength) if look.color == "adain" else x
        x = sample(model, x, sigmas, residuals, look.detail, callback, swap, skipped)
        if look.color == "match" and style is not None:
            x = transport(x, style.latents[0], look.color_strength)
        return x

    def _skipped_steps(self, sigmas: Tensor) -> int:
        """How many of the steps along ``sigmas`` lie in the part of the content's way that is left out."""
        if not self.look.skipped:
            return 0
        if self.content is None:
            raise ValueError("Leaving out the first steps needs the portrait's bank. Connect content_bank.")
        steps = self.content.steps
        last = steps - round(self.look.skipped * steps)
        if last < 1:
            raise ValueError(f"All of the {steps} steps are to be left out. Set start_step to {steps - 1} or less.")
        return max(0, self.content.start_of(sigmas) - last)


def _start_of(way: Trajectory, role: str, sigmas: Tensor, x: Tensor) -> int:
    """The step of a trajectory at which ``sigmas`` begin; ``ValueError`` if it does not fit them or ``x``."""
    start = way.start_of(sigmas, role)
    if way.batch not in (1, len(x)):
        raise ValueError(
            f"The {role} bank holds {way.batch} pictures, the sampler runs {len(x)}. Invert one {role}, or one for "
            "each picture that is sampled: a bank cannot be taken apart afterwards."
        )
    if role == "content" and way.size != tuple(x.shape[2:]):
        raise ValueError(
            f"The content was inverted as a latent of {way.size[0]}x{way.size[1]}, the sampler runs "
            f"{x.shape[2]}x{x.shape[3]}. Sample at the size of the inverted content."
        )
    return start
