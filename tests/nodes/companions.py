"""Other nodes that people have in the same graph, and what each does there, with and without FFA."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from graphs import csdi, ddim, error_of, ffa, keep, node

Link = list
Graph = dict[str, dict]

BANKS = {"content_bank": ["csdi", 0], "style_bank": ["csdi", 1]}
SHARE = 0.2  # of its effect alone that is left in company
LEAST = 1e-3  # an effect


class StandIn:
    """What a node of the tests' own needs besides ``RETURN_TYPES`` and ``run``."""

    CATEGORY, FUNCTION = "test", "run"
    INPUTS: ClassVar[dict] = {}

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": cls.INPUTS}


@dataclass(frozen=True)
class Companion:
    """A node beside ours. It patches the model (``model``, before or after FFA), changes the positive conditioning
    (``positive``), the latent (``latent``), or brings a guider (``guider``); each turns a link into nodes, the last of
    which is the result. ``needs`` are nodes that it reads. ``fusion``: changes of FFA; ``banks``: of the
    inversion; ``refused``: by place, part of the message where both cannot act."""

    name: str
    model: Callable[[Link], dict] | None = None
    positive: Callable[[Link], dict] | None = None
    latent: Callable[[Link], dict] | None = None
    guider: Callable[[Link], dict] | None = None
    needs: Graph = field(default_factory=dict)
    output: int = 0
    cfg: float = 2.0
    fusion: dict[str, Any] = field(default_factory=dict)
    banks: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # place -> message
    places: tuple[str, ...] = ("before", "after")


def patch(kind: str, **inputs: Any) -> Callable[[Link], dict]:
    """A node that patches a model."""
    return lambda model: node(kind, model=model, **inputs)


def four(companion: Companion, place: str) -> Graph:
    """Sampling with and without the companion, with and without FFA, from one inversion: keeps "", "c", "f", "cf"."""
    graph = csdi(**companion.banks) | companion.needs | {
        "text": node("TestPrompt", seed=1, tokens=77, width=64),
        "other text": node("TestPrompt", seed=2, tokens=77, width=64),
        "sampler": ddim(False, False, detail=0.0, color="none"),
        "sigmas": node("MagicStyle_Sigmas", bank=["csdi", 0]),
        "quiet": node("DisableNoise"),
    }  # fmt: skip
    for with_companion in (False, True):
        for fused in (False, True):
            graph |= _sampled(companion, place, with_companion, fused)
    return graph


def _sampled(companion: Companion, place: str, with_companion: bool, fused: bool) -> Graph:
    name = "c" * with_companion + "f" * fused
    graph: Graph = {}

    def add(part: str, content: dict, output: int = 0) -> Link:
        graph[f"{part} {name}"] = content
        return [f"{part} {name}", output]

    model: Link = ["model", 0]
    if with_companion and companion.model and place == "before":
        model = add("companion", companion.model(model))
    if fused:
        model = add("ffa", ffa(model=model, **companion.fusion))
    if with_companion and companion.model and place == "after":
        model = add("companion", companion.model(model))
    positive: Link = ["text", 0]
    if with_companion and companion.positive:
        positive = add("positive", companion.positive(positive), companion.output)
    latent: Link = ["csdi", 2]
    if companion.latent:  # on both sides: a mask or a batch is what the companion works on
        latent = add("latent", companion.latent(latent))
    if with_companion and companion.guider:
        guider = add("guider", companion.guider(model))
    else:
        rest = {"positive": positive, "negative": ["other text", 0], "cfg": companion.cfg}
        guider = add("guider", node("CFGGuider", model=model, **rest))
    sampled = add("sampled", node(
        "SamplerCustomAdvanced", noise=["quiet", 0], guider=guider, sampler=["sampler", 0], sigmas=["sigmas", 0],
        latent_image=latent,
    ))  # fmt: skip
    add("keep", keep(sampled, name))
    return graph


@dataclass(frozen=True)
class Effects:
    """Relative changes of the picture: by the companion and by FFA, each alone and in the other's company."""

    companion: float
    companion_in_company: float
    fusion: float
    fusion_in_company: float

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Effects:
        return cls(
            error_of(kept["c"], kept[""]),
            error_of(kept["cf"], kept["f"]),
            error_of(kept["f"], kept[""]),
            error_of(kept["cf"], kept["c"]),
        )

    def __str__(self) -> str:
        """By the node and by FFA: alone, and in company."""
        numbers = (self.companion, self.companion_in_company, self.fusion, self.fusion_in_company)
        node, node_too, fusion, fusion_too = (f"{100 * number:.2g} %" for number in numbers)
        return f"node {node}, with FFA {node_too}; FFA {fusion}, with the node {fusion_too}"

    def both_act(self) -> bool:
        """Whether each changes the picture, in the other's company too."""
        alone, together = (self.companion, self.fusion), (self.companion_in_company, self.fusion_in_company)
        return all(a > LEAST and t > max(SHARE * a, LEAST / 2) for a, t in zip(alone, together, strict=True))


def record(section: str, name: str, place: str, verdict: str, measured: str = "") -> None:
    """A line for docs/compatibility.md, where one is asked for."""
    file = os.environ.get("MAGICSTYLE_EFFECTS")
    if file:
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([section, name, place, verdict, measured]) + "\n")
