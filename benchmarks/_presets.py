"""What a step of every method of Fusion Rule costs beside a plain one, in the stage in which it computes most."""

from __future__ import annotations

from collections.abc import Callable

from _figures import Figure
from _nodes import fuse, invert, sample
from _subjects import Subject
from _timing import take_turns
from magicstyle.magicstyle_core.methods import METHODS, Method, Part, masactrl, portrait_diffusion
from magicstyle.magicstyle_core.rules import CrossImage

ONE, TWO = 1.05, 1.6  # bounds of a step with one attention, and with two
# These compute as much as two attentions: they sum two, lay out the style's queries by one more, read the keys of two
# pictures, or need the map of attention written out.
TWICE = (
    "MagicStyle",
    "MagicStyle, joined keys",
    "MagicStyle, sum of attentions",
    "PortraitDiffusion",
    "Cross-image attention",
    "ZePo",
    "StyleAligned",
)


def preset_figures(subject: Subject, steps: int, rounds: int) -> list[Figure]:
    """Ratios of runs of ``steps`` steps on the nodes' default layers."""
    content, style = invert(subject, steps, method="ddim", scheduler="simple", end_percent=1.0)

    def run(method: Method) -> Callable[[], object]:
        model = fuse(subject.model, content, style, rule=method)
        return lambda: sample(model, content)

    variants = {name: run(method) for name, method in _dearest().items()}
    times = take_turns({"plain": lambda: sample(subject.model, content), **variants}, rounds)
    ratios = {name: times.ratio(name, "plain") for name in variants}
    return [
        Figure(subject.name, f"fused step ({name}) / plain step", ratio, TWO if name in TWICE else ONE)
        for name, ratio in ratios.items()
    ]


def _dearest() -> dict[str, Method]:
    """All methods, without the parts of the way in which they do less."""
    whole = CrossImage(structure_until=0)
    stages = {
        "PortraitDiffusion": portrait_diffusion(switch=0),
        "MasaCtrl": masactrl(start=0),
        "Cross-image attention": Method("", (Part(whole, "full-res decoder"), Part(whole, "half-res decoder"))),
    }
    return {name: stages.get(name) or make() for name, make in METHODS.items()}
