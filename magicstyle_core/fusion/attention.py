"""The patches that a host runs at self-attention layers: one records, one lends, one fuses.

Each is called with the hidden states before the projections, ``(R,T,C)``, and with a :class:`LayerCall`, and returns
what is to be projected instead. R rows are the images once per conditioning ("chunk"), chunk by chunk. Patches never
change: what differs from call to call arrives with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from ..bank.bank import FeatureBank, Fetched, Kept
from ..bank.features import Feature, PackedFeature
from ..bank.recording import FeatureRecorder
from ..bank.storage import StepFeatures
from ..layers import LayerKey, LayerSelection
from ..schedule import SigmaWindow
from .base import CONTENT, LIVE, AttentionInputs, Branch, FusionRule, Moment
from .branches import Pending

Rows = Literal["all", "positive"]


class Acting(NamedTuple):
    """What a patch does during one evaluation of the network: all that depends on sigma alone."""

    strength: float
    moment: Moment
    features: Mapping[str, StepFeatures]  # of the names that its rule reads
    reads_live: bool


@dataclass
class ForwardPass:
    """One pass of one batch through the network, for all patches and layers.

    ``acting`` has the patches that act; ``roles`` of every chunk ("positive", "negative", ...). ``replaced`` holds the
    addresses of layers, with or without their depth, whose attention another node computes itself; ``overridden``
    collects layers at which fusion takes the place of what an earlier patch wanted to be read.
    """

    sigma: float
    acting: Mapping[FusionPatch, Acting] = field(default_factory=dict)
    roles: Sequence[str] = ("positive",)
    replaced: frozenset[tuple] = frozenset()
    overridden: set[LayerKey] = field(default_factory=set)
    pending: Pending = field(default_factory=Pending)

    def is_replaced(self, layer: LayerKey) -> bool:
        """Whether another node computes the attention of ``layer``."""
        return tuple(layer) in self.replaced or tuple(layer[:2]) in self.replaced


class LayerCall(NamedTuple):
    """One self-attention of one pass: its address, token grid ``(h, w)``, and the images of a chunk.

    A host that runs a long batch some images at a time says how many there are in all (``batch``), and takes those that
    run out of a tensor of all (``window``).
    """

    key: LayerKey
    grid: tuple[int, int]
    images: int
    forward: ForwardPass
    batch: int | None = None
    window: Callable[[Tensor], Tensor] | None = None


class Patch(Protocol):
    """What a host calls before the projections of a self-attention."""

    def __call__(self, live: AttentionInputs, call: LayerCall) -> AttentionInputs: ...


@dataclass(frozen=True)
class CapturePatch:
    """Records the input of self-attention at every selected layer and leaves it as it is."""

    recorder: FeatureRecorder

    def __call__(self, live: AttentionInputs, call: LayerCall) -> AttentionInputs:
        if call.key in self.recorder.plan.layers:
            if len(live.query) != sum(self.recorder.groups):
                raise ValueError(
                    f"Inversion expected {sum(self.recorder.groups)} rows and got {len(live.query)}. "
                    "Another node evaluates the pictures in parts or more than once; remove it while inverting."
                )
            self.recorder.put(call.forward.sigma, call.key, Feature(live.query, call.grid))
        return live


@dataclass(frozen=True)
class LendingPatch:
    """Leaves the inputs of self-attention in ``features`` and as they are: for what is used within the same step."""

    layers: LayerSelection
    features: dict[LayerKey, PackedFeature]

    def __call__(self, live: AttentionInputs, call: LayerCall) -> AttentionInputs:
        if call.key in self.layers:
            self.features[call.key] = PackedFeature(live.query, None, call.grid)
        return live


@dataclass(frozen=True, eq=False)
class FusionPatch:
    """Replaces the inputs of self-attention by what ``rule`` makes of them and of named ``banks``.

    ``strength`` blends with the unpatched attention; ``rows="positive"`` leaves negative conditionings as they are.
    Layers whose attention another node replaces are left to that node. A rule that can do without "content" runs
    without that bank, at any size.
    """

    rule: FusionRule
    banks: Mapping[str, FeatureBank]
    layers: LayerSelection
    strength: float = 1.0
    window: SigmaWindow = SigmaWindow()
    rows: Rows = "all"

    @cached_property
    def read(self) -> Mapping[str, FeatureBank]:
        """The banks that the rule reads."""
        return {name: bank for name, bank in self.banks.items() if name in self.rule.reads}

    def steps_at(self, sigma: float, strength: float = 1.0) -> Mapping[str, int] | None:
        """The kept step of each bank to read at ``sigma``; None where the patch does not act."""
        if self.strength * strength == 0 or sigma not in self.window:
            return None
        steps = {name: bank.kept_at(sigma) for name, bank in self.read.items()}
        found = {name: step for name, step in steps.items() if step is not None}
        return found if len(found) == len(steps) else None

    def at(self, sigma: float, strength: float = 1.0, fetched: Fetched | None = None) -> Acting | None:
        """What it does at ``sigma``, ``strength`` times as strong, with features at hand; None if that is nothing."""
        steps, fetched = self.steps_at(sigma, strength), fetched or {}
        if steps is None:
            return None
        kept = {name: Kept(self.read[name], step) for name, step in steps.items()}
        features = {name: fetched.get(here) or here.bank.store.at(here.step) for name, here in kept.items()}
        return Acting(self.strength * strength, self.moment_at(sigma), features, LIVE in self.rule.reads)

    def moment_at(self, sigma: float) -> Moment:
        """Where ``sigma`` lies on the way back of the content, or of the first bank if there is none."""
        bank = self.banks[CONTENT] if CONTENT in self.banks else next(iter(self.banks.values()))
        steps = bank.trajectory.steps
        return Moment(steps - bank.step_at(sigma), steps)

    def __call__(self, live: AttentionInputs, call: LayerCall) -> AttentionInputs:
        acting, forward = call.forward.acting.get(self), call.forward
        if acting is None or call.key not in self.layers.keys or forward.is_replaced(call.key):
            return live
        strength = self._row_strength(live.query, call, acting.strength)
        if strength is None:
            return live
        whole = not isinstance(strength, Tensor) and strength == 1
        if whole and live.key is not live.query and not acting.reads_live:
            forward.overridden.add(call.key)  # what an earlier patch wanted to be read
        stored = {name: _for_rows(name, kept[call.key], live, call) for name, kept in acting.features.items()}
        branches = self.rule(live, stored, acting.moment._replace(grid=call.grid))
        if not whole:
            branches = with_strength(branches, live, strength)
        return forward.pending.stack(call.key, branches, live)

    def _row_strength(self, n: Tensor, call: LayerCall, strength: float) -> float | Tensor | None:
        """Strength of the rows: one number if it is the same for all, None if it is 0 for all."""
        styled = [self.rows == "all" or role != "negative" for role in call.forward.roles]
        if all(styled) or not any(styled):
            return strength if styled[0] else None
        chunks = n.new_tensor(styled).repeat_interleave(call.images) * strength
        return chunks.repeat(len(n) // len(chunks)).view(-1, 1, 1)


def _for_rows(name: str, packed: PackedFeature, live: AttentionInputs, call: LayerCall) -> Feature:
    """A stored feature with one row for each row of the running batch."""
    hidden, grid = packed.unpack(live.query)
    if name == CONTENT and grid != call.grid:
        raise ValueError(
            f"The content was inverted with {grid[0]}x{grid[1]} tokens at layer {call.key}, the running latent has "
            f"{call.grid[0]}x{call.grid[1]}. Sample at the content's size, without area conditioning, put nodes that "
            "change the network's resolution (PatchModelAddDownscale) on the model while inverting too; or leave "
            "content_bank of FFA unconnected, which then works at any size."
        )
    rows, batch = len(live.query), call.images if call.batch is None else call.batch
    if len(hidden) == 1:
        return Feature(hidden.expand(rows, -1, -1), grid)
    if len(hidden) != batch:
        raise ValueError(
            f"The {name} bank holds {len(hidden)} images and the running batch {batch}. "
            f"Give one {name}, or as many as there are latents in the batch."
        )
    if call.window is not None:
        hidden = call.window(hidden)
    return Feature(hidden.repeat(rows // call.images, 1, 1), grid)


def with_strength(branches: Sequence[Branch], live: AttentionInputs, strength: float | Tensor) -> Sequence[Branch]:
    """Blend ``branches`` with the unpatched attention: 0 is unpatched, 1 the rule, above 1 extrapolates.

    ``strength`` is a number or ``(B or 1, T or 1, 1)``.
    """
    return [*(branch._replace(weight=branch.weight * strength) for branch in branches), Branch(live, 1 - strength)]
