"""What arrives at a node, checked against the node's own inputs: a link brings what no widget and no socket would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from inspect import signature
from numbers import Real
from typing import Any

from torch import Tensor

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..magicstyle_core.bank.bank import FeatureBank

MOST = 1000  # characters of a message
SHOWN = 80  # characters of a value in it


def checked(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, whose ``execute`` now raises ``ValueError`` for values that its inputs do not allow.

    The host checks widgets, and only the types of links. Whatever the node itself says is made short and printable:
    the host encodes messages, and its worker ends where one cannot be encoded.
    """
    execute = node.execute.__func__
    judged = set(signature(node.validate_inputs).parameters)  # as the host does, leave these to the node

    @wraps(execute)
    def behind_check(cls: type[io.ComfyNode], **values: Any) -> io.NodeOutput:
        inputs = node.define_schema().inputs  # anew: other packs add schedulers to the host's when they are loaded
        try:
            return execute(cls, **_checked(inputs, values, judged))
        except ValueError as error:
            if type(error) is not ValueError or str(error) == printable(str(error)):
                raise
            raise ValueError(printable(str(error))) from error

    node.execute = classmethod(behind_check)
    return node


def printable(message: str) -> str:
    """The message in at most 1,000 characters, what cannot be printed escaped; a long one loses its middle."""
    if len(message) > MOST:
        message = f"{message[: MOST // 2]} ... {message[-MOST // 4 :]}"
    text = "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in message)
    return text if len(text) <= MOST else f"{text[: MOST // 2]} ... {text[-MOST // 4 :]}"


def described(value: object) -> str:
    """A value in few printable characters."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, str | float | bool | None):
        text = ascii(value)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return str(value) if isinstance(value, int) and value.bit_length() < 64 else f"a {type(value).__name__}"


def _checked(inputs: Sequence[io.Input], values: Mapping[str, Any], judged: set[str] = frozenset(), at: str = "") -> dict[str, Any]:
    """The values of these inputs, numbers as their widgets have them; others are left out, as the host does where it can."""
    found = {}
    for widget in inputs:
        name = at + widget.id
        value = values.get(widget.id)
        if value is None:
            if not widget.optional:
                raise ValueError(f"{name} is missing. Connect it, or add the node anew.")
            continue
        if isinstance(widget, io.DynamicCombo.Input):
            found[widget.id] = _choice(widget, value, name)
        elif isinstance(widget, io.Int.Input | io.Float.Input):
            found[widget.id] = _number(widget, value, name)
        else:
            found[widget.id] = _fitting(widget, value, name, widget.id in judged)
    return found


def _choice(widget: io.DynamicCombo.Input, value: Any, name: str) -> dict[str, Any]:
    options = {option.key: option for option in widget.options}
    chosen = value.get(widget.id) if isinstance(value, Mapping) else value
    if not isinstance(chosen, str) or chosen not in options:
        raise _refusal(name, f"one of {'; '.join(options)}", chosen)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} came without the dials of {chosen}. Choose it on the node, and do not link it.")
    return {widget.id: chosen, **_checked(options[chosen].inputs, value, at=f"{name}.")}


def _number(widget: io.Int.Input | io.Float.Input, value: Any, name: str) -> float:
    whole = isinstance(widget, io.Int.Input)
    allowed = isinstance(value, Real) and widget.min <= value <= widget.max  # never so for NaN
    if not allowed or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise _refusal(name, f"{kind} from {widget.min:g} to {widget.max:g}", value)
    return int(value) if whole else float(value)


def _fitting(widget: io.Input, value: Any, name: str, judged: bool) -> Any:
    if isinstance(widget, io.Combo.Input):
        if not isinstance(value, str) or not (judged or value in widget.options):
            raise _refusal(name, f"one of {', '.join(map(str, widget.options[:30]))}", value)
    elif (kind := widget.get_io_type()) in KINDS:
        expected, fits = KINDS[kind]
        if not fits(value):
            raise _refusal(name, expected, value)
    return value


def _refusal(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name} must be {expected}; got {described(value)}. Set it on the node, or link another output to it.")


def _numbers(value: Any, *ranks: int) -> bool:
    """Whether this is a tensor of real numbers that is not empty."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0 and (not ranks or value.ndim in ranks)


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_prompt, value))


def _is_prompt(entry: Any) -> bool:
    if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[1], Mapping):
        return False
    pooled = entry[1].get("pooled_output")
    told = (entry[0],) if pooled is None else (entry[0], pooled)
    return _numbers(entry[0], 3) and (pooled is None or _numbers(pooled, 2)) and all(bool(t.isfinite().all()) for t in told)


KINDS = {  # of inputs: in words, and whether a value is one
    "STRING": ("a text", lambda value: isinstance(value, str)),
    "BOOLEAN": ("on or off", lambda value: isinstance(value, bool)),
    "MODEL": ("a model, as a checkpoint loader gives it", lambda value: isinstance(value, ModelPatcher)),
    "VAE": ("a VAE", lambda value: callable(getattr(value, "decode", None)) and not isinstance(value, bytes)),
    "MAGICSTYLE_BANK": ("a feature bank, as an inversion node gives it", lambda value: isinstance(value, FeatureBank)),
    "LATENT": (
        "a latent that is not empty, as VAE Encode gives it",
        lambda value: isinstance(value, Mapping) and _numbers(value.get("samples")),
    ),
    "IMAGE": (
        "pictures (batch, height, width, 1 or 3 or 4 channels) of numbers in 0..1, at least one",
        lambda value: _numbers(value, 4) and value.shape[-1] in (1, 3, 4),
    ),
    "CONDITIONING": ("a prompt of at least one token without NaN, as CLIP Text Encode gives it", _is_conditioning),
}
