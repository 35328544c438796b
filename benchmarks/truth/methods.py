"""What is compared: nothing and the truth, classical methods, the peers, and this pack's settings.

A method turns contents and references into images. Those that run the demo network are `Setting`s: everything that the
nodes let people set, by the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from demo.network import Network
from demo.render.fields import Field
from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.fusion.attention import FusionPatch
from magicstyle_core.fusion.base import FusionRule
from magicstyle_core.fusion.ffa import Keys
from magicstyle_core.fusion.rules import CrossImage, KeepDetails, Sum
from magicstyle_core.layers import LayerSelection
from magicstyle_core.methods import METHODS
from magicstyle_core.sampling.fff import Color, Look, StyleStrength
from magicstyle_core.schedule import SIGMA_TOLERANCE, SigmaWindow

from .budget import Budget, Run, included
from .classical import match_histograms, patch_texture, reinhard
from .first import FirstDefault

# Looks without pieces: the peers have none.
LOOKS: dict[Color, Look] = {color: Look(color, texture=0.0) for color in get_args(Color)}


@dataclass(frozen=True)
class Setting:
    """One way through the network. `rule` None is standard attention; `steps` are the first and last (exclusive) of
    the way back in which the rule acts, as fractions; `recolor` gives the content the style's colours before it is
    inverted (Monge-Kantorovich)."""

    rule: FusionRule | None = None
    look: Look = LOOKS["match"]
    strength: float = 1.0
    layers: str = "all"
    steps: tuple[float, float] = (0.0, 1.0)
    recolor: bool = False

    def looking(self, **changes: object) -> Setting:
        """The same with some of its look changed."""
        return replace(self, look=replace(self.look, **changes))

    def patches(self, network: Network, content: FeatureBank, style: FeatureBank) -> list[FusionPatch]:
        """The patches of this setting for two banks."""
        if self.rule is None:
            return []
        sigmas = content.trajectory.sigmas
        first, last = (round(part * (len(sigmas) - 1)) for part in self.steps)
        down = sigmas.flip(0) * (1 + SIGMA_TOLERANCE)  # a window excludes its end: the step that begins there
        window = SigmaWindow(float(down[first]), float(down[last]))
        layers = LayerSelection.parse(self.layers, network.layers.layers)
        return [network.patch(self.rule, content, style, layers=layers, strength=self.strength, window=window)]


@dataclass(frozen=True)
class Picture:
    """A method that needs no network: from (content, reference) to an image, mixed with the content by `amount`."""

    draw: Callable[[Field, Field], Field]
    amount: float = 1.0

    def __call__(self, content: Field, reference: Field) -> Field:
        return content + np.float32(self.amount) * (self.draw(content, reference) - content)


@dataclass(frozen=True)
class Row:
    """A line of the table. `curve`: the trade-off curve that it lies on; `label`: the dial's value there; `default`:
    it stands for its curve's method as published, or as our nodes come; `misaligned`, `aligned`: the shortest run that
    measures it against these references; `main`: misaligned, bounds compare it finely and want all pairs."""

    name: str
    method: Setting | Picture | Literal["content", "truth", "codec"]
    curve: str = ""
    label: str = ""
    default: bool = False
    misaligned: Run = "all"
    aligned: Run = "all"
    main: bool = False

    def pairs(self, references: str, budget: Budget) -> int:
        """How many pairs of this set of references a run measures; 0 if it leaves the row out."""
        if not included(getattr(self, references), budget.run):
            return 0
        return budget.main if self.main and references == "misaligned" else budget.other


def rule_of(method: str, **dials: float) -> FusionRule:
    """The rule of a method that has one, at its published dials but for those named."""
    known = METHODS[method]
    ((rule, _),) = known.parts(**{dial.name: dial.default for dial in known.dials} | dials)
    return rule


OWN, PUBLISHED, GENTLE = "MagicStyle", "MagicStyle, as published", "MagicStyle, recoloured"  # the last: of rows only
STORED, STYLEID, LIVE, MATCHED = map(rule_of, (PUBLISHED, "StyleID", "Visual Style Prompting", OWN))
PAPER, DEFAULT = Setting(STORED, METHODS[PUBLISHED].look), Setting(MATCHED, METHODS[OWN].look)
FIRST = Setting(FirstDefault(), Look())
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5)
# The gentle dial: where on the way back FFA begins. Colours keep pace, see `gentle`.
STARTS = (0.95, 0.9, 0.8, 0.65, 0.5)
BETAS = (0.0, 0.2, 0.4, 0.6)


def rows() -> list[Row]:
    """All lines: without a network, the peers with their own dials, the paper, this pack, one dial at a time."""
    return [*_without_network(), *_peers(), *_own(), *_sweeps()]


def dials(table: Sequence[Row]) -> dict[str, list[str]]:
    """Names of the rows along strength (0 is standard attention) and beta, from low to high."""
    along = [row.name for row in table if row.curve == OWN]
    betas = [name for name in (f"paper, match, beta {beta:g}" for beta in BETAS) if any(r.name == name for r in table)]
    return {"style strength": along} | ({"beta (stored queries)": betas} if betas else {})


def _without_network() -> list[Row]:
    def reinhards(amount: float) -> Row:
        run: Run = "quick" if amount == 1 else "all"
        return Row(f"Reinhard {amount:g}", Picture(reinhard, amount), "Reinhard", f"{amount:g}", amount == 1, run, run)

    return [
        Row("nothing done", "content", misaligned="quick", aligned="quick"),
        Row("truth", "truth", misaligned="quick", main=True),
        Row("truth through the codec", "codec"),
        Row("histogram matching", Picture(match_histograms), "histogram matching", "", True, "quick", "whole"),
        Row("quilting", Picture(patch_texture), "quilting", "", True, "quick", "whole"),
        *map(reinhards, (0.25, 0.5, 0.75, 1.0)),
    ]


def _peers() -> list[Row]:
    """The peers by their formulas, at all layers; where a dial of theirs trades style for structure, a curve of it."""
    table = [
        Row("standard attention", Setting(look=LOOKS["none"])),
        Row("standard attention, adain", Setting(look=LOOKS["adain"])),
        Row("standard attention, match", Setting(), OWN, "0", False, "quick", "quick"),
    ]

    def add(curve: str, name: str, value: float, default: float, rule: FusionRule, color: Color) -> None:
        runs: tuple[Run, Run] = ("quick", "whole") if value == default else ("all", "all")
        table.append(Row(name, Setting(rule, LOOKS[color]), curve, f"{value:g}", value == default, *runs))

    for gamma in (0.25, 0.5, 0.75, 0.9):
        add("StyleID", f"StyleID gamma {gamma:g}", gamma, 0.75, rule_of("StyleID", gamma=gamma), "adain")
    for first in (0.0, 0.1, 0.4):
        add("MasaCtrl", f"MasaCtrl from {first:.0%}", first, 0.1, rule_of("MasaCtrl", start=first), "none")
    for g in (0.0, 1.2):
        rule = rule_of("PortraitDiffusion", guidance=g, switch=0.0)
        add("PortraitDiffusion", f"PortraitDiffusion g {g:g}", g, 1.2, rule, "none")
    for contrast in (1.0, 1.67):
        add("cross-image", f"cross-image contrast {contrast:g}", contrast, 1.67, CrossImage(contrast), "adain")
    return table


def _own() -> list[Row]:
    table = [
        Row("first default", FIRST, misaligned="quick", main=True),
        Row("paper, strength 0.5", at_strength(PAPER, 0.5), "paper", "0.5"),
        Row("paper, strength 1", PAPER, "paper", "1", True, "quick", "whole"),
    ]
    for strength in STRENGTHS:
        run: Run = "quick" if strength in (0.5, 1, 1.5) else "all"
        name, default = f"{OWN}, strength {strength:g}", strength == 1
        table.append(Row(name, at_strength(DEFAULT, strength), OWN, f"{strength:g}", default, run, run, default))
    for start in STARTS:  # those that are run reach from the portrait to where the default's own dial begins
        run = "whole" if start >= 0.8 else "all"
        table.append(Row(f"{GENTLE}, from {start:.0%}", gentle(start), GENTLE, f"{start:g}", False, run, run))
    table.append(Row(GENTLE, replace(DEFAULT, recolor=True), GENTLE, "0", True))
    return table


def at_strength(setting: Setting, strength: float) -> Setting:
    """A setting with weaker or stronger FFA; up to 1 its texture keeps pace, so that 0 is standard attention."""
    texture = setting.look.texture * StyleStrength(strength).look
    return replace(setting, strength=strength).looking(texture=texture)


def at_style_strength(setting: Setting, value: float) -> Setting:
    """A setting under the Fused Sampler's `style_strength`."""
    strength = StyleStrength(value)
    return replace(setting, strength=setting.strength * strength.attention, look=setting.look.at(strength))


def gentle(start: float) -> Setting:
    """The default for a content in the style's colours, with FFA from `start` (0.5 to 1) of the way back on.

    Until then the content's own path is retraced: the Fused Sampler's `start_step` gives the same pictures sooner.
    """
    strength = min(1.0, 2 * (1 - start))
    return replace(DEFAULT, recolor=True, steps=(start, 1.0)).looking(color_strength=strength, texture=0.0)


def reading(keys: Keys) -> KeepDetails:
    """The default's rule with other keys."""
    return replace(MATCHED, rule=replace(MATCHED.rule, keys=keys))


def _sweeps() -> list[Row]:
    """One dial at a time, on aligned references."""
    changes = {
        f"keys {keys}": replace(DEFAULT, rule=reading(keys)) for keys in ("content+style", "live+style")
    }
    changes["sum of content and style attention"] = Setting(
        Sum((reading("content"), MATCHED), (0.5, 0.5))
    )
    betas = {f"paper, match, beta {b:g}": Setting(rule_of(PUBLISHED, beta=b)) for b in BETAS}
    changes |= betas | {f"matched, beta {b:g}": replace(DEFAULT, rule=rule_of(OWN, beta=b)) for b in (0.2, 0.5)}
    changes |= {f"details {d:g}": replace(DEFAULT, rule=rule_of(OWN, details=d)) for d in (0.0, 0.2)}
    changes |= {f"temperature {t:g}": replace(DEFAULT, rule=rule_of(OWN, temperature=t)) for t in (0.7, 1.5)}
    for layers in ("decoder", "input.1, output.2-3", "input.3, middle, output.0-1"):
        changes[f"layers {layers}"] = replace(DEFAULT, layers=layers)
    changes |= {f"detail {detail:g}": DEFAULT.looking(detail=detail) for detail in (0.0, 0.5)}
    for first, last in ((0.0, 0.5), (0.5, 1.0)):
        changes[f"steps {first:.0%} to {last:.0%}"] = replace(DEFAULT, steps=(first, last))
    changes |= {f"color {color}": DEFAULT.looking(color=color) for color in ("none", "adain")}
    changes |= {f"texture {t:g}": DEFAULT.looking(texture=t) for t in (0.0, 0.5, 1.0)}
    changes["StyleID, color match"] = Setting(STYLEID)
    changes["MasaCtrl, color match"] = Setting(LIVE)
    return [
        Row(name, setting, misaligned="never", aligned="whole" if name in betas else "all")
        for name, setting in changes.items()
    ]
