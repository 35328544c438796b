"""The callables that a host installs at self-attention layers: one records, one fuses.

Both are ``attn1_patch`` functions ``(n, context, value, extra_options) -> (n, context, value)`` on hidden
states ``(R,T,C)`` before the projections, where R rows are the images once per conditioning ("chunk"), chunk
by chunk. They never change: what differs from call to call arrives in ``extra_options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from .bank import FeatureBank, Fetched, Kept, Lookup, Reading
from .branches import FORWARD, Forward
from .features import Feature, PackedFeature
from .fusion import AttentionInputs, FusionRule, Moment, Role, with_strength
from .layers import LayerKey, LayerSelection
from .recording import FeatureRecorder
from .schedule import SigmaWindow

Rows = Literal["all", "positive"]

CALL = "magicstyle_call"  # where the adapter puts a Call


@dataclass(frozen=True)
class Call:
    """What is known about one evaluation of the network before it starts.

    ``roles`` maps the uuid of a conditioning to its role ("positive", "negative", ...). ``features`` holds what of a
    bank's features is at hand already: fetched ahead, or of pictures that are evaluated beside the running one.
    ``strength`` multiplies that of every patch.
    """

    sigma: float
    roles: Mapping[Any, str] = field(default_factory=dict)
    features: Fetched = field(default_factory=dict)
    strength: float = 1.0


def _call(extra_options: Mapping[str, Any]) -> Call:
    # Some hosts evaluate the network outside of the sampler; the sigma is in the options all the same.
    return extra_options.get(CALL) or Call(float(extra_options["sigmas"][0]))


def _layer_key(extra_options: Mapping[str, Any]) -> LayerKey:
    block, index = extra_options["block"]
    return LayerKey(block, index, extra_options["block_index"])


def _token_grid(n: Tensor, extra_options: Mapping[str, Any]) -> tuple[int, int]:
    height, width = extra_options["activations_shape"][-2:]
    if n.shape[1] != height * width:
        raise ValueError(
            f"Layer {_layer_key(extra_options)} has {n.shape[1]} tokens instead of {height}x{width}: another node "
            "merges or tiles tokens (ToMe, HyperTile). Remove it; ToMe may also stand after FFA Attention Patch."
        )
    return height, width


@dataclass(frozen=True)
class CapturePatch:
    """Records the input of self-attention at every selected layer and leaves it as it is."""

    recorder: FeatureRecorder

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        key = _layer_key(extra_options)
        if key in self.recorder.plan.layers:
            feature = Feature(n, _token_grid(n, extra_options))
            if len(n) != sum(self.recorder.groups):
                raise ValueError(
                    f"Inversion expected {sum(self.recorder.groups)} rows and got {len(n)}. "
                    "Use one conditioning without areas or several prompts."
                )
            self.recorder.put(_call(extra_options).sigma, key, feature)
        return n, context, value


@dataclass(frozen=True)
class LivePatch:
    """Leaves the inputs of self-attention in ``features`` and as they are: for what is used within the same step."""

    layers: LayerSelection
    features: dict[LayerKey, PackedFeature]

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        key = _layer_key(extra_options)
        if key in self.layers:
            self.features[key] = PackedFeature(n, None, _token_grid(n, extra_options))
        return n, context, value


@dataclass(frozen=True)
class FusionPatch:
    """Replaces the inputs of self-attention by what ``rule`` makes of them and of two banks.

    ``strength`` blends with the unpatched attention; ``rows="positive"`` leaves negative conditionings as they are;
    ``lookup`` says what is read between two steps of a bank. What a rule makes runs as :mod:`.branches` describe, so
    the options need a Forward. Layers whose attention another node replaces are left to that node.
    """

    rule: FusionRule
    content: FeatureBank
    style: FeatureBank
    layers: LayerSelection
    strength: float = 1.0
    window: SigmaWindow = SigmaWindow()
    rows: Rows = "all"
    lookup: Lookup = "nearest"

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, extra_options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        key, call = _layer_key(extra_options), _call(extra_options)
        forward: Forward = extra_options[FORWARD]
        if self.strength == 0 or key not in self.layers or forward.is_replaced(key):
            return n, context, value
        strength = self._row_strength(n, call, extra_options)
        if strength is None:
            return n, context, value
        readings = self.readings_at(call.sigma)
        if readings is None:
            return n, context, value
        if context is not n and not isinstance(strength, Tensor) and strength == 1 and "live" not in self.rule.reads:
            forward.overridden.add(key)  # what an earlier patch wanted to be read
        live, grid = AttentionInputs(n, context, value), _token_grid(n, extra_options)
        features = {role: self._feature(role, readings[role], key, call, live, extra_options) for role in readings}
        nothing = Feature(n[:, :0], grid)  # for what the rule does not read
        content, style = (features.get(role, nothing) for role in ("content", "style"))
        if content.grid != grid:
            raise ValueError(
                f"The content was inverted with {content.grid[0]}x{content.grid[1]} tokens at layer {key}, the running "
                f"latent has {grid[0]}x{grid[1]}. Sample at the content's size, without area conditioning, and put "
                "nodes that change the network's resolution (PatchModelAddDownscale) on the model while inverting too."
            )
        branches = self.rule(live, content, style, self.moment_at(call.sigma))
        return forward.stack(key, with_strength(branches, live, strength), live)

    @cached_property
    def banks(self) -> Mapping[Role, FeatureBank]:
        """The banks that the rule reads."""
        both: dict[Role, FeatureBank] = {"content": self.content, "style": self.style}
        return {role: bank for role, bank in both.items() if role in self.rule.reads}

    def readings_at(self, sigma: float) -> dict[Role, Reading] | None:
        """What to read of each bank at ``sigma``; None where the patch does not act."""
        if self.strength == 0 or sigma not in self.window:
            return None
        readings: dict[Role, Reading] = {
            role: bank.reading_at(sigma, self.lookup) for role, bank in self.banks.items()
        }
        return readings if all(readings.values()) else None

    def moment_at(self, sigma: float) -> Moment:
        """Where ``sigma`` lies on the content's way back."""
        steps = self.content.trajectory.steps
        return Moment(steps - self.content.step_at(sigma), steps)

    def _feature(
        self,
        role: Role,
        reading: Reading,
        key: LayerKey,
        call: Call,
        live: AttentionInputs,
        extra_options: Mapping[str, Any],
    ) -> Feature:
        """Feature with one row for each row of the running batch."""
        hidden, grid = self._read(self.banks[role], reading, key, call, live.query)
        rows, images = len(live.query), extra_options["activations_shape"][0] // _chunks(extra_options)
        if len(hidden) == 1:
            return Feature(hidden.expand(rows, -1, -1), grid)
        window = _window(extra_options)
        batch = images if window is None else window.total_frames
        if len(hidden) != batch:
            raise ValueError(
                f"The {role} bank holds {len(hidden)} images and the running batch {batch}. "
                f"Give one {role}, or as many as there are latents in the batch."
            )
        if window is not None:
            hidden = window.get_tensor(hidden, dim=0)
        return Feature(hidden.repeat(rows // images, 1, 1), grid)

    def _read(self, bank: FeatureBank, reading: Reading, key: LayerKey, call: Call, like: Tensor) -> Feature:
        """The mean of the steps of ``reading`` by their shares; of one step, that step."""
        features = []
        for step in reading:
            at_hand = call.features.get(Kept(bank, step))
            packed = bank.stored(step, key) if at_hand is None else at_hand[key]
            features.append(packed.unpack(like))
        if len(features) == 1:
            return features[0]
        parts = [feature.hidden * share for feature, share in zip(features, reading.values(), strict=True)]
        return Feature(sum(parts[1:], parts[0]), features[0].grid)

    def _row_strength(self, n: Tensor, call: Call, extra_options: Mapping[str, Any]) -> float | Tensor | None:
        """Strength of the rows: one number if it is the same for all, None if it is 0 for all."""
        strength = self.strength * call.strength
        if strength == 0:
            return None
        if self.rows == "all":
            return strength
        styled = [role != "negative" for role in _roles(call, extra_options)]
        if all(styled) or not any(styled):
            return strength if styled[0] else None
        images = extra_options["activations_shape"][0] // len(styled)
        chunks = n.new_tensor(styled).repeat_interleave(images) * strength
        return chunks.repeat(len(n) // len(chunks)).view(-1, 1, 1)


def _window(extra_options: Mapping[str, Any]) -> Any | None:
    """The host's context window, if it runs a long batch a few images at a time; it knows which ones these are."""
    window = extra_options.get("context_window")
    return None if window is None or window.dim != 0 else window


def _chunks(extra_options: Mapping[str, Any]) -> int:
    return len(extra_options["cond_or_uncond"])


def _roles(call: Call, extra_options: Mapping[str, Any]) -> list[str]:
    """Role of every chunk; an unknown conditioning counts as positive."""
    indices, uuids = extra_options["cond_or_uncond"], extra_options["uuids"]
    roles = []
    for index, uuid in zip(indices, uuids, strict=True):
        # The host copies a conditioning, uuid and all, to make the missing half of an area: then the index
        # in the call tells the halves apart.
        shared = len({other for other, name in zip(indices, uuids, strict=True) if name == uuid}) > 1
        roles.append(("positive", "negative")[min(index, 1)] if shared else call.roles.get(uuid, "positive"))
    return roles
