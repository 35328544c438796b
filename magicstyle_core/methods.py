"""Methods by their names: their rule, layers and start, with the values that their authors published.

A method is made by a function whose arguments are its dials. What lies outside of self-attention and the start is not
part of it: noising instead of inversion, masks, guidance, trained weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .fusion import FeatureFusion, FusionRule
from .rules import CrossImage, Stages, StandardAttention, StructureRamp, StyleAligned, Sum

Color = Literal["match", "adain", "none"]


class Part(NamedTuple):
    """A rule and the layers on which it acts, by the name of a preset of :mod:`.layers`."""

    rule: FusionRule
    layers: str = "all"


class Start(NamedTuple):
    """How a method begins and ends: ``color`` as in the Fused Sampler, ``detail`` the share of inversion's residuals,
    ``texture`` the share of pieces laid anew, ``skipped`` the part of the way that is left out at the noise."""

    color: Color = "none"
    detail: float = 0.0
    texture: float = 0.0
    skipped: float = 0.0


@dataclass(frozen=True)
class Method:
    """Rules on layers, and how sampling starts; None leaves that to the sampler's own settings."""

    name: str
    parts: tuple[Part, ...]
    start: Start | None = Start()


HIGH_RES, LATE = "high-res decoder", "late decoder"
LIVE = FeatureFusion(0.0, 1.0, queries="live")
OF_CONTENT = FeatureFusion(1.0, 0.0)


def magicstyle(beta: float = 0.4, temperature: float = 1.0) -> Method:
    """This pack's default: style queries laid out as the portrait is."""
    rule = FeatureFusion(1 - beta, beta, queries="matched", temperature=temperature)
    return Method("MagicStyle", (Part(rule),), Start("match", 1.0, 0.75))


def magicstyle_paper(beta: float = 0.2) -> Method:
    """MagicStyle (arXiv 2409.08156): stored queries of both, keys and values of the style."""
    return Method("MagicStyle, as published", (Part(FeatureFusion(1 - beta, beta)),), Start("adain"))


def magicstyle_joined(beta: float = 0.2, style_weight: float = 4.0) -> Method:
    """Another reading of MagicStyle: one softmax over the keys of both pictures."""
    rule = FeatureFusion(1 - beta, beta, "content+style", style_weight=style_weight)
    return Method("MagicStyle, joined keys", (Part(rule),), Start("adain"))


def magicstyle_sum(beta: float = 0.2, style_share: float = 0.5) -> Method:
    """Another reading of MagicStyle: the content's attention and the style's, added."""
    rules = FeatureFusion(1 - beta, beta, "content"), FeatureFusion(1 - beta, beta)
    return Method("MagicStyle, sum of attentions", (Part(Sum(rules, (1 - style_share, style_share))),), Start("adain"))


def styleid(gamma: float = 0.75, temperature: float = 1.5) -> Method:
    """StyleID (arXiv 2312.09008): queries between the content's and the running image's, sharpened."""
    rule = FeatureFusion(gamma, 1 - gamma, queries="live", temperature=temperature)
    return Method("StyleID", (Part(rule, HIGH_RES),), Start("adain"))


def portrait_diffusion(guidance: float = 1.5, switch: float = 0.7) -> Method:
    """PortraitDiffusion (arXiv 2312.02212): the content's queries, and from ``switch`` of the way on beyond them, away
    from the content towards the running image's."""
    late = Sum((OF_CONTENT, LIVE), (1 - guidance, guidance))
    return Method("PortraitDiffusion", (Part(Stages(OF_CONTENT, switch, late), HIGH_RES),))


def masactrl(start: float = 0.08) -> Method:
    """MasaCtrl (arXiv 2304.08465): the running image's queries read the style, from the fifth of 50 steps on."""
    return Method("MasaCtrl", (Part(Stages(StandardAttention(), start, LIVE), HIGH_RES),))


def visual_style_prompting() -> Method:
    """Visual Style Prompting (arXiv 2402.12974): the running image's queries read the style in the whole decoder."""
    return Method("Visual Style Prompting", (Part(LIVE, "decoder"),))


def cross_image(contrast: float = 1.67) -> Method:
    """Cross-image attention (arXiv 2311.03335): at 64 px latents the two finest resolutions of the decoder, each in its
    own part of the way."""
    rule, plain = CrossImage(contrast), StandardAttention()
    fine, coarse = (Stages(Stages(plain, 0.1, rule), last, plain) for last in (0.9, 0.7))
    parts = (Part(fine, "full-res decoder"), Part(coarse, "half-res decoder"))
    return Method("Cross-image attention", parts, Start("adain"))


def zepo(mix: float = 1.0, style_scale: float = 1.2) -> Method:
    """ZePo (arXiv 2408.05492): content and style in one softmax, the style's logits scaled; starts half way."""
    rule = FeatureFusion(1 - mix, mix, "content+style", "live", style_scale=style_scale)
    return Method("ZePo", (Part(rule, LATE),), Start(skipped=0.5))


def style_aligned(style_scale: float = 1.0, style_weight: float = 1.0) -> Method:
    """StyleAligned (arXiv 2312.02133): the running image and the style in one softmax, statistics aligned."""
    return Method("StyleAligned", (Part(StyleAligned(style_scale, style_weight)),))


def diffstyler(ramp: float = 2.0) -> Method:
    """DiffStyler (arXiv 2403.18461): holds the content's layout; the style comes from a LoRA on the model."""
    return Method("DiffStyler", (Part(StructureRamp(ramp), LATE),))


def standard() -> Method:
    """No fusion: the paper's ablation (Fig. 5). Colours are matched as for this pack's default."""
    return Method("Standard attention", (Part(StandardAttention()),), Start("match", 1.0))


METHODS: Mapping[str, Callable[..., Method]] = {
    make().name: make
    for make in (
        magicstyle,
        magicstyle_paper,
        magicstyle_joined,
        magicstyle_sum,
        styleid,
        portrait_diffusion,
        masactrl,
        visual_style_prompting,
        cross_image,
        zepo,
        style_aligned,
        diffstyler,
        standard,
    )
}
