"""The host's protocol of attention patches, turned into the core's.

The host calls ``attn1_patch`` functions ``(n, context, value, extra_options) -> (n, context, value)`` and looks for one
function to run instead of its attention. What it says on the way is read here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.fusion.attention import Acting, ForwardPass, FusionPatch, LayerCall, Patch
from ...magicstyle_core.fusion.base import AttentionInputs
from ...magicstyle_core.fusion.branches import Pending
from ...magicstyle_core.layers import LayerKey
from ...magicstyle_core.methods import Method
from ...magicstyle_core.sampling.fff import Look

log = logging.getLogger(__name__)

# Where the options of a pass hold a ForwardPass, and where the host looks for a function to run instead of its attention.
PASS = "magicstyle_pass"
OVERRIDE = "optimized_attention_override"


@dataclass(frozen=True)
class Hook:
    """A patch of the core in the host's list; ``method`` is what it is part of, and brings its look."""

    patch: Patch
    method: Method | None = None

    def __call__(
        self, n: Tensor, context: Tensor, value: Tensor, extra_options: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.patch(AttentionInputs(n, context, value), layer_call(n, extra_options))


def layer_call(n: Tensor, options: Mapping[str, Any]) -> LayerCall:
    """What the host says of one self-attention with hidden states ``n (R,T,C)``."""
    block, index = options["block"]
    key = LayerKey(block, index, options["block_index"])
    rows, _, height, width = options["activations_shape"]
    if n.shape[1] != height * width:
        raise ValueError(
            f"Layer {key} has {n.shape[1]} tokens instead of {height}x{width}: another node merges or tiles tokens (ToMe, "
            "HyperTile). Remove it; ToMe may also stand after FFA Attention Patch."
        )
    images = rows // len(options["cond_or_uncond"])
    window = options.get("context_window")  # of the host's context windows: a long batch runs a few images at a time
    if window is None or window.dim != 0:
        return LayerCall(key, (height, width), images, options[PASS])
    frames = window.total_frames
    return LayerCall(key, (height, width), images, options[PASS], frames, lambda whole: window.get_tensor(whole, dim=0))


def hooks(options: Mapping[str, Any]) -> list[Hook]:
    """This pack's patches among a model's or a run's ``transformer_options``."""
    return [patch for patch in options.get("patches", {}).get("attn1_patch", []) if isinstance(patch, Hook)]


def fusion_patches(options: Mapping[str, Any]) -> list[FusionPatch]:
    """FFA's patches among a model's or a run's ``transformer_options``."""
    return [hook.patch for hook in hooks(options) if isinstance(hook.patch, FusionPatch)]


def check_unfused(model: ModelPatcher, advice: str) -> None:
    """``ValueError`` if the model has an FFA patch."""
    if fusion_patches(model.model_options.get("transformer_options", {})):
        raise ValueError(f"The model has an FFA Attention Patch already, which would act here too. {advice}")


def look_of(options: Mapping[str, Any]) -> Look:
    """Start and finish of the method on the model: the last one's, if there are several."""
    methods = list(dict.fromkeys(hook.method for hook in hooks(options) if hook.method is not None))
    if not methods:
        return Look()
    if len({method.look for method in methods}) > 1:
        log.info("Several methods are on the model: it starts and ends as the last one does, %s.", methods[-1])
    return methods[-1].look


@dataclass(frozen=True)
class Evaluation:
    """What is known of one evaluation of the network before it starts.

    ``roles`` maps the uuid of a conditioning to its role; ``acting`` holds what each known patch does, None for nothing.
    """

    sigma: float
    roles: Mapping[Any, str]
    acting: Mapping[FusionPatch, Acting | None]


def forward_pass(options: Mapping[str, Any], evaluation: Evaluation | None) -> dict[str, Any]:
    """The host's ``transformer_options`` for one pass of one batch in which this pack's patches act."""
    if evaluation is None:  # some nodes evaluate the network outside of a sampler; the sigma is there all the same
        evaluation = Evaluation(float(options["sigmas"][0]), {}, {})
    sigma, known = evaluation.sigma, evaluation.acting
    found = {patch: known[patch] if patch in known else patch.at(sigma) for patch in fusion_patches(options)}
    acting = {patch: acts for patch, acts in found.items() if acts is not None}
    replaced = frozenset(options.get("patches_replace", {}).get("attn1", {}))
    forward = ForwardPass(sigma, acting, _roles(options, evaluation.roles), replaced)
    fused = {OVERRIDE: FusedAttention(forward.pending, options.get(OVERRIDE))} if acting else {}
    return {**options, PASS: forward, **fused}


def _roles(options: Mapping[str, Any], roles: Mapping[Any, str]) -> Sequence[str]:
    """Role of every chunk of a batch; an unknown conditioning counts as positive."""
    indices, uuids = options["cond_or_uncond"], options.get("uuids") or [None] * len(options["cond_or_uncond"])
    found = []
    for index, uuid in zip(indices, uuids, strict=True):
        # The host copies a conditioning, uuid and all, to make the missing half of an area: then the index in the call
        # tells the halves apart.
        shared = len({other for other, name in zip(indices, uuids, strict=True) if name == uuid}) > 1
        found.append(("positive", "negative")[min(index, 1)] if shared else roles.get(uuid, "positive"))
    return found


@dataclass(frozen=True)
class FusedAttention:
    """What the host runs instead of its attention function ``func(q, k, v, heads, ...)`` while patches fuse."""

    pending: Pending
    previous: Callable[..., Tensor] | None = None

    def __call__(
        self, func: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any
    ) -> Tensor:
        def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if self.previous is None:
                return func(q, k, v, heads, *args, **kwargs)
            return self.previous(func, q, k, v, heads, *args, **kwargs)

        return self.pending.attend(plain, q, k, v, heads)
