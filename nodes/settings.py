"""Settings of FFA Attention Patch and methods of Fusion Rule, written as lines of text."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..magicstyle_core.fusion import FeatureFusion
from ..magicstyle_core.methods import METHODS, Method
from .fusion import FFAAttentionPatch
from .rules import DIALS

MOST = 64


class Setting(NamedTuple):
    """A line of the list: where and what it is, the text over its column, what FFA is set to, and the ``method`` that a
    rule would give."""

    number: int
    line: str
    label: str
    values: dict[str, Any]
    method: Method | None = None

    def __str__(self) -> str:
        return f"line {self.number} of settings, '{self.line}'"


def parse(text: str) -> list[Setting]:
    """Settings of a text, one a line; what follows a # is the label. ``ValueError`` names the line that cannot be read."""
    numbered = enumerate(text.splitlines(), 1)
    settings = [_parse_line(number, line) for number, line in numbered if line.partition("#")[0].strip()]
    if not 1 <= len(settings) <= MOST:
        raise ValueError(
            f"settings holds {len(settings)} lines; 1 to {MOST} are needed. Write one setting a line, such as 'beta=0.4' or "
            "'Standard attention'."
        )
    return settings


def _parse_line(number: int, line: str) -> Setting:
    """``name=value name=value`` of FFA Attention Patch, or ``method`` or ``method: dial=value`` of Fusion Rule."""
    line, _, label = (part.strip() for part in line.partition("#"))
    name, _, dials = line.partition(":")
    methods = {known.lower(): make for known, make in METHODS.items()}
    make = methods.get(name.strip().lower())
    try:
        method = None if make is None else make(**_dials(dials, set(inspect.signature(make).parameters)))
        return Setting(number, line, label or line, _values(line if make is None else ""), method)
    except ValueError as error:
        raise ValueError(f"Line {number} of settings, '{line}': {error}") from error


def _pairs(text: str) -> dict[str, str]:
    """Values by name, from ``name=value`` or ``name value``; spaces beside an = or a comma mean nothing."""
    found: dict[str, str] = {}
    words = iter(re.sub(r"\s*([=,])\s*", r"\1", text).split())
    for word in words:
        name, equals, value = word.partition("=")
        value = value if equals else next(words, "")
        if not name or not value or "=" in value:
            raise ValueError(
                f"'{word}' is not name=value. Write for example 'beta=0.4 keys=style', or a method of Fusion Rule: "
                f"{'; '.join(METHODS)}."
            )
        if name.lower() in found:
            raise ValueError(f"{name} is given twice. Give each setting a line of its own.")
        found[name.lower()] = value
    return found


def _dials(text: str, known: set[str]) -> dict[str, float]:
    """Dials of a method whose dials are ``known``."""
    pairs = _pairs(text)
    if unknown := [name for name in pairs if name not in known]:
        raise ValueError(f"'{unknown[0]}' is not a dial of this method; it has {', '.join(sorted(known)) or 'none'}.")
    return {name: _number(name, value, *DIALS[name][:2]) for name, value in pairs.items()}


def _number(name: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"{name} needs a number; got '{value}'.") from error
    if not low <= number <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {value}.")
    return number


def _widgets() -> dict[str, io.Input]:
    """Widgets of FFA Attention Patch by name."""
    inputs = FFAAttentionPatch.define_schema().inputs
    return {widget.id: widget for widget in inputs if isinstance(widget, io.Float.Input | io.Combo.Input | io.String.Input)}


def _values(line: str) -> dict[str, Any]:
    """All settings of FFA Attention Patch: the line's, and the defaults of the others."""
    widgets = _widgets()
    given = {name: _value(widgets, name, value) for name, value in _pairs(line).items()}
    for one, other in (("alpha", "beta"), ("beta", "alpha")):
        if one in given:
            given.setdefault(other, round(1 - given[one], 9))  # 0.2, as one would write it, and not 0.19999999999999996
    values = {name: widget.default for name, widget in widgets.items()} | given
    FeatureFusion(values["alpha"], values["beta"])  # which says so if they do not sum to 1
    return values


def _value(widgets: dict[str, io.Input], name: str, value: str) -> float | str:
    widget = widgets.get(name)
    if widget is None:
        raise ValueError(
            f"'{name}' is not an input of FFA Attention Patch; it has {', '.join(widgets)}. Methods of Fusion Rule are "
            f"{'; '.join(METHODS)}."
        )
    if isinstance(widget, io.Float.Input):
        return _number(name, value, widget.min, widget.max)
    if isinstance(widget, io.Combo.Input) and value not in widget.options:
        raise ValueError(f"{name} must be one of {', '.join(widget.options)}; got '{value}'.")
    return value
