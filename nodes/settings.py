"""Settings of FFA Attention Patch written as lines of text: its inputs, and methods with their dials."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..magicstyle_core.methods import CUSTOM, METHODS, Dial, Method
from ..magicstyle_core.text import quoted
from .fusion import FFAAttentionPatch

MOST, MOST_LINES = 64, 1000  # settings, and lines with those that are empty or a remark
LONGEST_LINE, LONGEST_LABEL = 2000, 120  # characters


class Setting(NamedTuple):
    """A line of the list: where and what it is, the text over its column, the method with its dials, and the other
    inputs of FFA."""

    number: int
    line: str
    label: str
    method: Method
    dials: dict[str, Any]
    inputs: dict[str, Any]

    def __str__(self) -> str:
        return f"line {self.number} of settings, {quoted(self.line)}"


def parse(text: str) -> list[Setting]:
    """Settings of a text, one a line; what follows a # is the label. ``ValueError`` names the line that cannot be read."""
    if len(text) > MOST_LINES * LONGEST_LINE or len(lines := text.splitlines()) > MOST_LINES:
        raise ValueError(f"settings holds more than {MOST_LINES} lines of {LONGEST_LINE} characters. Write one setting a line.")
    settings = [_parse_line(number, line) for number, line in enumerate(lines, 1) if line.partition("#")[0].strip()]
    if not 1 <= len(settings) <= MOST:
        raise ValueError(
            f"settings holds {len(settings)} settings; 1 to {MOST} are needed. Write one setting a line, such as 'beta=0.4' or "
            "'Standard attention'."
        )
    return settings


def _parse_line(number: int, line: str) -> Setting:
    """``name=value name=value`` of a custom attention, or ``method`` or ``method: dial=value``, with FFA's inputs."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"Line {number} of settings has {len(line)} characters; at most {LONGEST_LINE} are read. Shorten it.")
    line, _, label = (part.strip() for part in line.partition("#"))
    name, _, rest = line.partition(":")
    known = {method.lower(): method for method in METHODS}
    chosen = known.get(name.strip().lower())
    try:
        if len(label) > LONGEST_LABEL:
            raise ValueError(f"the label after # has {len(label)} characters; at most {LONGEST_LABEL} are drawn. Shorten it.")
        if not label.isprintable():
            raise ValueError(f"the label after # holds what cannot be drawn: {quoted(label)}. Leave that out.")
        pairs = _pairs(line if chosen is None else rest)
        inputs = _inputs(pairs)
        method = _custom(pairs) if chosen is None else METHODS[chosen]
        dials = _dials(method, {name: value for name, value in pairs.items() if name not in inputs}, chosen is None)
        method.parts(**dials)  # which says so if alpha and beta do not sum to 1
        defaults = {widget.id: widget.default for widget in _widgets().values()}
        return Setting(number, line, label or _cut(line), method, dials, defaults | inputs)
    except ValueError as error:
        raise ValueError(f"Line {number} of settings, {quoted(line)}: {error}") from error


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 3]}..."


def _pairs(text: str) -> dict[str, str]:
    """Values by name, from ``name=value`` or ``name value``; spaces beside an = or a comma mean nothing."""
    found: dict[str, str] = {}
    words = iter(re.sub(r"\s*([=,])\s*", r"\1", text).split())
    for word in words:
        name, equals, value = word.partition("=")
        value = value if equals else next(words, "")
        if not name or not value or "=" in value:
            raise ValueError(
                f"{quoted(word)} is not name=value. Write for example 'beta=0.4 keys=style', or a method: {'; '.join(METHODS)}."
            )
        if name.lower() in found:
            raise ValueError(f"{quoted(name)} is given twice. Give each setting a line of its own.")
        found[name.lower()] = value
    return found


def _custom(pairs: Mapping[str, str]) -> Method:
    """The custom method that has the chosen keys."""
    first, *others = CUSTOM.values()
    keys = pairs.get("keys", "")
    return next((method for method in others if any(keys in dial.choices for dial in method.dials)), first)


def _dials(method: Method, pairs: Mapping[str, str], custom: bool) -> dict[str, Any]:
    """Dials of a method: those that are given, and its own values of the others. ``alpha`` of a custom one is what beta
    leaves."""
    dials = {dial.name: dial for dial in method.dials}
    alpha = {"alpha": Dial("alpha", 0.0, "")} if custom else {}
    if unknown := [name for name in pairs if name not in {**dials, **alpha}]:
        known = ", ".join(sorted({**dials, **alpha})) or "none"
        if custom:
            raise ValueError(
                f"{quoted(unknown[0])} is not an input of FFA Attention Patch; it has {', '.join(_widgets())}, and for {method} "
                f"{known}. Methods are {'; '.join(METHODS)}."
            )
        raise ValueError(f"{quoted(unknown[0])} is not a dial of this method; it has {known}.")
    given = {name: _value({**dials, **alpha}[name], value) for name, value in pairs.items()}
    if "alpha" in given:
        given.setdefault("beta", round(1 - given["alpha"], 9))  # 0.2, as one would write it, and not 0.19999999999999996
    return {name: dial.default for name, dial in dials.items()} | given


def _value(dial: Dial, text: str) -> float | str:
    return _choice(dial.name, text, _all_choices(dial)) if dial.choices else _number(dial.name, text, dial.low, dial.high)


def _all_choices(dial: Dial) -> list[str]:
    """What a dial of this name may be in any of the custom methods."""
    return [choice for method in CUSTOM.values() for other in method.dials if other.name == dial.name for choice in other.choices]


def _choice(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(dict.fromkeys(choices))}; got {quoted(value)}.")
    return value


def _number(name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"{name} needs a number; got {quoted(value)}.") from error
    if not low <= number <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {quoted(value)}.")
    return number


def _widgets() -> dict[str, io.Input]:
    """Widgets of FFA Attention Patch by name, without the method."""
    inputs = FFAAttentionPatch.define_schema().inputs
    return {widget.id: widget for widget in inputs if isinstance(widget, io.Float.Input | io.Combo.Input | io.String.Input)}


def _inputs(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Those of the pairs that are inputs of FFA Attention Patch."""
    found: dict[str, Any] = {}
    for name, widget in _widgets().items():
        if name in pairs:
            value = pairs[name]
            if isinstance(widget, io.Float.Input):
                found[name] = _number(name, value, widget.min, widget.max)
            else:
                found[name] = _choice(name, value, widget.options) if isinstance(widget, io.Combo.Input) else value
    return found
