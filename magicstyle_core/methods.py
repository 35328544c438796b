"""Methods by their names: rule, layers, dials and look, with the values that their authors published.

One entry of :data:`METHODS` is all that is said of a method; the node, its help, the sweep and the page of methods are
made of it. What lies outside of self-attention and the look is not part of it: noising instead of inversion, masks,
guidance, trained weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from .fusion.base import FusionRule
from .fusion.ffa import FeatureFusion, Queries
from .fusion.rules import CrossImage, KeepDetails, Stages, StandardAttention, StructureRamp, StyleAligned, Sum
from .sampling.fff import Look


class Part(NamedTuple):
    """A rule and the layers on which it acts, by the name of a preset of :mod:`.layers`."""

    rule: FusionRule
    layers: str = "all"


class Dial(NamedTuple):
    """A number of a method, from ``low`` to ``high``, and what raising it does; or a word out of ``choices``."""

    name: str
    default: float | str
    text: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """How a picture is read: ``parts`` makes rules of the dials, by their names.

    ``formula`` is its attention, where ``A(Q, K, V)`` is the plain one, ``c`` the portrait, ``s`` the style, and no index
    the running image; ``source`` cites it.
    """

    name: str
    source: str
    text: str
    formula: str
    parts: Callable[..., tuple[Part, ...]]
    dials: tuple[Dial, ...] = ()
    look: Look = Look("none", detail=0.0, texture=0.0)

    def __str__(self) -> str:
        return self.name


HIGH_RES, LATE = "high-res decoder", "late decoder"
LIVE = FeatureFusion(0.0, 1.0, queries="live")
OF_CONTENT = FeatureFusion(1.0, 0.0)
ADAIN = Look("adain", detail=0.0, texture=0.0)
MORE, SHARPER = "Raising it brings more of the style.", "Raising it makes tokens read fewer, better matching ones."

DETAILS = (
    "Share of the portrait, the most detailed first, that may stay its own. Raising it keeps eyes, mouths and small "
    "things, and takes less of the style."
)

Parts = tuple[Part, ...]


def _beta(default: float) -> Dial:
    return Dial("beta", default, f"Share of the style in the queries; the portrait has the rest. {MORE}")


def _temperature(default: float) -> Dial:
    return Dial("temperature", default, f"Factor on the attention logits. {SHARPER}", 0.1, 5.0)


def _scale(default: float) -> Dial:
    return Dial("style_scale", default, f"Factor on the logits of the style's keys. {SHARPER}", 0.05, 5.0)


def _weight(default: float) -> Dial:
    text = f"What a key of the style weighs beside one of the portrait's or the running image's. {MORE}"
    return Dial("style_weight", default, text, 0.01, 100.0)


def _on(layers: str, rule: FusionRule) -> Parts:
    return (Part(rule, layers),)


def _magicstyle(beta: float, temperature: float, details: float) -> Parts:
    rule = FeatureFusion(1 - beta, beta, "style", "matched", temperature)
    return _on("all", KeepDetails(rule, details) if details else rule)


def _joined(beta: float, style_weight: float) -> Parts:
    return _on("all", FeatureFusion(1 - beta, beta, "content+style", style_weight=style_weight))


def _sum(beta: float, style_share: float) -> Parts:
    rules = FeatureFusion(1 - beta, beta, "content"), FeatureFusion(1 - beta, beta)
    return _on("all", Sum(rules, (1 - style_share, style_share)))


def _portrait_diffusion(guidance: float, switch: float) -> Parts:
    late = Sum((OF_CONTENT, LIVE), (1 - guidance, guidance))
    return _on(HIGH_RES, Stages(OF_CONTENT, switch, late))


def _cross_image(contrast: float) -> Parts:
    rule, plain = CrossImage(contrast), StandardAttention()
    fine, coarse = (Stages(Stages(plain, 0.1, rule), last, plain) for last in (0.9, 0.7))
    return Part(fine, "full-res decoder"), Part(coarse, "half-res decoder")


def _zepo(mix: float, style_scale: float) -> Parts:
    return _on(LATE, FeatureFusion(1 - mix, mix, "content+style", "live", style_scale=style_scale))


def _custom(beta: float, alpha: float | None = None, **dials: Any) -> Parts:
    return _on("all", FeatureFusion(1 - beta if alpha is None else alpha, beta, **dials))


_ALL = (
    Method(
        "MagicStyle", "after arXiv 2409.08156", "This pack's default: style queries laid out as the portrait is.",
        "A(a Q' + b Q_s relaid on the portrait, [K_d; K_s], [V_d; V_s]), Q' half way from Q_c to Q, d details of the portrait",
        _magicstyle, (_beta(0.3), _temperature(1.0), Dial("details", 0.1, DETAILS)), Look(),
    ),
    Method(
        "MagicStyle, as published", "arXiv 2409.08156", "Stored queries of both, keys and values of the style.",
        "A(a Q_c + b Q_s, K_s, V_s)", lambda beta: _on("all", FeatureFusion(1 - beta, beta)), (_beta(0.2),), ADAIN,
    ),
    Method(
        "MagicStyle, joined keys", "arXiv 2409.08156", "Another reading: one softmax over the keys of both pictures.",
        "A(a Q_c + b Q_s, [K_c; K_s], [V_c; V_s]), a style key weighs w", _joined, (_beta(0.2), _weight(4.0)), ADAIN,
    ),
    Method(
        "MagicStyle, sum of attentions", "arXiv 2409.08156", "Another reading: two attentions, added.",
        "(1 - w) A(a Q_c + b Q_s, K_c, V_c) + w A(a Q_c + b Q_s, K_s, V_s)", _sum,
        (_beta(0.2), Dial("style_share", 0.5, f"Share of the style's attention; the portrait's has the rest. {MORE}")),
        ADAIN,
    ),
    Method(
        "StyleID", "arXiv 2312.09008", "Queries between the content's and the running image's, sharpened.",
        "A(T (g Q_c + (1 - g) Q), K_s, V_s)",
        lambda gamma, temperature: _on(HIGH_RES, FeatureFusion(gamma, 1 - gamma, "style", "live", temperature)),
        (Dial("gamma", 0.75, "Share of the portrait in the queries. Raising it keeps more of it."), _temperature(1.5)),
        ADAIN,
    ),
    Method(
        "PortraitDiffusion", "arXiv 2312.02212", "The content's queries; from a part of the way on beyond them, away from "
        "the content towards the running image's.",
        "A(Q_c, K_s, V_s), later (1 - g) A(Q_c, K_s, V_s) + g A(Q, K_s, V_s)", _portrait_diffusion,
        (
            Dial("guidance", 1.5, "How far queries go from the portrait's (0) to the running image's (1) and beyond. "
                 "Raising it frees the picture from the portrait.", 0.0, 3.0),
            Dial("switch", 0.7, "Part of the way after which guidance acts. Raising it holds the portrait longer."),
        ),
    ),
    Method(
        "MasaCtrl", "arXiv 2304.08465", "The running image's queries read the style, from the fifth of 50 steps on.",
        "A(Q, K, V), later A(Q, K_s, V_s)", lambda start: _on(HIGH_RES, Stages(StandardAttention(), start, LIVE)),
        (Dial("start", 0.08, "Part of the way after which the style is read. Raising it keeps more of the portrait."),),
    ),
    Method(
        "Visual Style Prompting", "arXiv 2402.12974", "The running image's queries read the style in the whole decoder.",
        "A(Q, K_s, V_s)", lambda: _on("decoder", LIVE),
    ),
    Method(
        "Cross-image attention", "arXiv 2311.03335", "The running image's queries read the style with more contrast; at 64 "
        "px latents at the two finest resolutions of the decoder, each in its own part of the way.",
        "clip(f (P - 1/S) + 1/S, 0, 1) V_s with the map P of A(Q, K_s, V_s); early on every fifth step reads the portrait",
        _cross_image,
        (Dial("contrast", 1.67, "How far attention is spread about its mean. Raising it gives crisper texture.", 1, 5),),
        ADAIN,
    ),
    Method(
        "ZePo", "arXiv 2408.05492", "Content and style in one softmax, the style's logits scaled; starts half way.",
        "A(m Q + (1 - m) Q_c, [K_c; g K_s], [V_c; V_s])", _zepo,
        (Dial("mix", 1.0, "Share of the running image in the queries. Lowering it keeps more of the portrait."), _scale(1.2)),
        Look("none", detail=0.0, texture=0.0, skipped=0.5),
    ),
    Method(
        "StyleAligned", "arXiv 2312.02133", "The running image and the style in one softmax, statistics aligned.",
        "A(Q*, [K*; g K_s], [V; V_s]), * with mean and deviation of the style's; a style key weighs w",
        lambda style_scale, style_weight: _on("all", StyleAligned(style_scale, style_weight)), (_scale(1.0), _weight(1.0)),
    ),
    Method(
        "DiffStyler", "arXiv 2403.18461", "Holds the content's layout; the style comes from a LoRA on the model.",
        "A(r Q_c + (1 - r) Q, r K_c + (1 - r) K, V), r falling", lambda ramp: _on(LATE, StructureRamp(ramp)),
        (Dial("ramp", 2.0, "How long the portrait's layout is held. Raising it holds it longer.", 0, 10),),
    ),
    Method(
        "Standard attention", "arXiv 2409.08156, Fig. 5", "No fusion: the paper's ablation. Colours are matched as for this "
        "pack's default.", "A(Q, K, V)", lambda: _on("all", StandardAttention()), look=Look(texture=0.0),
    ),
)  # fmt: skip
METHODS: dict[str, Method] = {method.name: method for method in _ALL}

_QUERIES = Dial("queries", "matched", "What beta mixes in. matched: the style's queries, laid out as the portrait is. stored: "
                "where they lie in the style picture (the paper). live: the running image's own.", choices=get_args(Queries))
_ONE = Dial("keys", "style", "What the queries read: the style, or for comparison the portrait.", choices=("style", "content"))
_TWO = Dial("keys", "content+style", "What is read beside the style: the portrait, which keeps more of it, or the running "
            "image.", choices=("content+style", "live+style"))
_FAMILY = "A(T (a Q_c + b Q_o), K, V), Q_o by queries, K and V by keys", _custom
CUSTOM: dict[str, Method] = {
    name: Method(name, "after arXiv 2409.08156", text, *_FAMILY, (_beta(0.4), keys, _QUERIES, _temperature(1.0), *more), Look())
    for name, text, keys, more in (
        ("Custom", "Every dial of one attention to one picture, at MagicStyle's own values.", _ONE, ()),
        ("Custom, joined keys", "Every dial of one attention to two pictures in one softmax.", _TWO, (_scale(1), _weight(1))),
    )
}  # fmt: skip
