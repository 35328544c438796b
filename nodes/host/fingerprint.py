"""What tells one model of the host from another: its kind, its weights, their precision, and what was put on them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from comfy.model_patcher import ModelPatcher

from ...magicstyle_core.bank.bank import FeatureBank, ModelFingerprint
from ...magicstyle_core.text import plain
from .models import attention_layers, prediction

log = logging.getLogger(__name__)

UNET = "diffusion_model."
SAMPLED_PARTS = ("time_embed", "middle_block", "out")
SAMPLED = 256  # numbers of each tensor that tell checkpoints apart
SAMPLED_PATCH = 16  # and of each tensor of a LoRA


def fingerprint(model: ModelPatcher) -> ModelFingerprint:
    layers = attention_layers(model)
    config = model.model.model_config.unet_config
    sampling = model.get_model_object("model_sampling")
    sigmas = f"sigma {float(sampling.sigma_min):.4g} to {float(sampling.sigma_max):.4g}"
    weights, precision = _weights(model)
    return ModelFingerprint(
        type(model.model.model_config).__name__,
        f"{prediction(sampling)}, {sigmas}",
        config["model_channels"],
        config["context_dim"],
        len(layers),
        weights,
        precision,
        _patches(model),
    )


def check_model(model: ModelPatcher, banks: Mapping[str, FeatureBank | None]) -> None:
    """``ValueError`` unless all ``banks``, by their roles, were captured on a model like this one; a word in the log if
    it was patched otherwise then."""
    mine = fingerprint(model)
    for role, bank in banks.items():
        if bank is None:
            continue
        if bank.model != mine:
            raise ValueError(_difference(role, bank.model, mine))
        # Files of the first version do not say what was patched: they have no precision either.
        if bank.model.precision and bank.model.patches != mine.patches:
            then = plain(bank.model.patches) or "none"
            log.info(
                "LoRAs or merges on the model are others than when the %s bank was captured (then %s, now %s): what was "
                "kept is used as it is.", role, then, mine.patches or "none",
            )  # fmt: skip


def _difference(role: str, captured: ModelFingerprint, mine: ModelFingerprint) -> str:
    said = f"The {role} bank was captured on {plain(str(captured), 300)}, but this model is {mine}."
    others = [(one.name, one.prediction, one.channels, one.context, one.layers) for one in (captured, mine)]
    if others[0] != others[1]:
        return f"{said} Invert the picture again with this model."
    if captured.precision in ("", mine.precision):
        reason = "These are other weights" if captured.precision else "These are other weights, or another precision"
        return f"{said} {reason}: load the checkpoint that it was made with, or invert the picture again with this one."
    return (
        f"{said} This is another precision (or also other weights, which cannot be told across precisions): start the "
        "host and load the checkpoint as then, or invert the picture again."
    )


def _weights(model: ModelPatcher) -> tuple[str, str]:
    """Short hash of a sample of the weights as they were loaded, and what they are kept as.

    While LoRAs are applied the host keeps what was loaded in backups.
    """
    unet, digest, kinds = model.model.diffusion_model, hashlib.sha256(), set()
    for part in SAMPLED_PARTS:
        found = getattr(unet, part)
        parameters = [] if found is None else found.named_parameters(prefix=f"{UNET}{part}")
        for name, weight in sorted(parameters):
            if name in model.hook_backup:
                weight = model.hook_backup[name][0]
            elif name in model.backup:
                weight = model.backup[name].weight
            digest.update(_sample(weight, SAMPLED))
            kinds.add(_kind(weight))
    return digest.hexdigest()[:12], ", ".join(sorted(kinds))[:80]


def _plain(weight: Tensor) -> Tensor:
    """The numbers that a weight is kept as, flat.

    Quantized weights are tensors of classes of their own, which answer for the tensor that they stand for. The host's
    have no memory but hold another tensor, those of GGUF are the bytes themselves.
    """
    kept = getattr(weight, "_qdata", weight)
    if type(kept).dequantize is not Tensor.dequantize:
        kept = kept.dequantize()
    with torch._C.DisableTorchFunctionSubclass():
        return Tensor.flatten(Tensor.detach(kept).as_subclass(Tensor))


def _sample(weight: Tensor, count: int) -> bytes:
    numbers = _plain(weight)
    sample = numbers[:: max(1, len(numbers) // count)].to("cpu", torch.float32)
    return sample.contiguous().numpy().tobytes()


def _kind(weight: Tensor) -> str:
    """``float16``, or for quantized weights the class and what it says of its packing."""
    data = weight.data
    if type(data) is Tensor:
        return str(data.dtype).removeprefix("torch.")
    packing = getattr(data, "tensor_type", None) or getattr(data, "_layout_cls", None) or data.dtype
    return f"{type(data).__name__} {getattr(packing, 'name', packing)}".replace("torch.", "")


def _patches(model: ModelPatcher) -> str:
    """Short hash of all that was put on the UNet's weights; empty for none. Equal for equal LoRAs at equal strengths."""
    digest, count = hashlib.sha256(), 0
    for key, patches in sorted(model.patches.items(), key=lambda item: str(item[0])):
        if not str(key).startswith(UNET):
            continue
        for part in _flat((key, patches)):
            digest.update(part)
        count += 1
    return f"{digest.hexdigest()[:8]} on {count} weights" if count else ""


def _flat(value: Any) -> Iterator[bytes]:
    """All that a patch consists of: numbers, names, tensors, and the host's adapters, which hold such."""
    if isinstance(value, Tensor):
        yield _sample(value, SAMPLED_PATCH)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, (int, float, str, bool)):
        yield repr(value).encode()
    else:
        yield type(value).__name__.encode()
        yield from _flat(getattr(value, "weights", ()))
