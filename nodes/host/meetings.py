"""Where FFA and another node meet in a run and one of them does not act: a word in the log, once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...magicstyle_core.fusion.attention import ForwardPass
from ...magicstyle_core.layers import BLOCKS, AttentionLayer, describe

log = logging.getLogger(__name__)

REPLACED = "Another node replaces self-attention at %s: FFA leaves these layers to it."
OVERRIDDEN = (
    "FFA Attention Patch takes the place of what a node before it made self-attention read, at %s. Put that node after "
    "FFA, or set strength below 1, or choose Custom, joined keys with live+style, and both act."
)
SAME_KEYS = (
    "Another node works on what self-attention gives for the positive and the negative prompt (normalized attention "
    "guidance). FFA gives both the same keys, so that little tells them apart: set rows of FFA to positive, and both act."
)


class Meetings:
    """What is seen of other nodes during a run. Some of them let the network run once more in their own way, so what is
    said of a layer is said after an evaluation: only if FFA acted there in none of its passes."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._fused: set[AttentionLayer] = set()
        self._replaced: set[AttentionLayer] = set()
        self._overridden: set[AttentionLayer] = set()

    def note(self, forward: ForwardPass, options: Mapping[str, Any]) -> None:
        """Remember where FFA acted in a pass, and where another node met it."""
        layers = {layer.key: layer for patch in forward.acting for layer in patch.layers}
        for layer in layers.values():
            (self._replaced if forward.is_replaced(layer.key) else self._fused).add(layer)
        self._overridden.update(layers[key] for key in forward.overridden)
        both = {"positive", "negative"} <= set(forward.roles)
        if both and options.get("patches", {}).get("attn1_output_patch") and any(p.rows == "all" for p in forward.acting):
            self._say(SAME_KEYS)

    def tell(self) -> None:
        """Say what was noted."""
        if lost := self._replaced - self._fused:
            self._say(REPLACED, describe(sorted(lost, key=_address)))
        if self._overridden:
            self._say(OVERRIDDEN, describe(sorted(self._overridden, key=_address)))

    def _say(self, message: str, *args: str) -> None:
        if message not in self._told:
            self._told.add(message)
            log.warning(message, *args)


def _address(layer: AttentionLayer) -> tuple:
    return BLOCKS.index(layer.key.block), *layer.key[1:]
