"""Hostile values, names and prompts, all from one random generator: what no node should be given, and may be."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

from .client import Prompt

# Large numbers are out of every range: one that is allowed (1000 steps) would only take long.
NUMBERS = (
    float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, -0.0, 0.5, -1, 2**31, 2**63, -(2**63), 10**30,
    10**400,
)  # fmt: skip
TEXTS = (
    "", " ", "\x00", "a\x00b", "\ud800", "oil\udfff", "\udcff\udcfe", "x" * 100_000, "\u202eliop",
    "\u2066a\u2069\u200f",
    "a\nb\r\nc", "\n" * 50, "\x1b[2J", "<b>x</b>", "%date%", "%width%", "nan", "1e999", "\U0001f3a8", "\u0301" * 300,
    "output.0-99999999999", "," * 1000, "beta=nan", "StyleID: gamma=\ud800", "# " + "y" * 100_000, "beta=0.4 " * 5000,
)  # fmt: skip
NAMES = (
    "../x", "/etc/passwd", "..\\x", "C:\\x", "con", ".hidden/x", "./x", "a//b", "a/../b", "~/x", "file:///etc/passwd",
    "torture/" + "n" * 300, "/".join("d" * 60), " x", "x ", "x.safetensors", "x:y", "x|y", "x\x7fy", "*?",
    "\u2024\u2024/x",
    "torture", "torture/", "%year%/x",
)  # fmt: skip
OTHERS: tuple[object, ...] = (
    None, True, [], {}, [[]], {"a": 1}, ["5"], ["5", 0, 0], ["5", "0"], ["99", 0], ["5", 99], ["5", -1], [0, 0],
)  # fmt: skip


def text(chance: random.Random) -> str:
    """A text that some part of a node may stumble over."""
    return chance.choice(TEXTS)


def name(chance: random.Random) -> str:
    """A name of a file that is none, leads elsewhere, or cannot be."""
    drawn = chance.choice((*NAMES, *TEXTS))
    return chance.choice((drawn, f"torture/{drawn}", f"{drawn}.safetensors"))


def value(chance: random.Random) -> object:
    """Anything that JSON, as the host reads it, can carry."""
    return chance.choice(chance.choice((NUMBERS, TEXTS, OTHERS)))


def prompt(valid: Prompt, chance: random.Random) -> Prompt:
    """``valid`` with one to three things wrong in nodes of the pack or in links."""
    broken = copy.deepcopy(valid)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(SPOILERS)(broken, chance)
    for number, node in broken.items():
        for key in [key for key, found in node["inputs"].items() if _hangs(found, broken)]:
            if "." in key or key not in valid[number]["inputs"]:
                del node["inputs"][key]
    return broken


def _hangs(found: object, prompt: Prompt) -> bool:
    """Whether this is a link to a node that is not there. The host (0.30) checks only inputs that it knows, and its
    worker dies of such a link at any other, whatever the node."""
    return isinstance(found, list) and len(found) == 2 and isinstance(found[0], str) and found[0] not in prompt


def _own(prompt: Prompt, chance: random.Random) -> dict[str, object]:
    """The inputs of one of the pack's nodes. Those of other nodes are for their authors to check."""
    found = [node for node in prompt.values() if node["class_type"].startswith("MagicStyle_") and node["inputs"]]
    return chance.choice(found)["inputs"]


def _links(prompt: Prompt) -> list[tuple[dict, str]]:
    return [
        (node["inputs"], key)
        for node in prompt.values()
        for key, found in node["inputs"].items()
        if isinstance(found, list)
    ]


def _wrong_value(prompt: Prompt, chance: random.Random) -> None:
    inputs = _own(prompt, chance)
    inputs[chance.choice(list(inputs))] = value(chance)


def _wrong_text(prompt: Prompt, chance: random.Random) -> None:
    inputs = _own(prompt, chance)
    if texts := [key for key, found in inputs.items() if isinstance(found, str)]:
        inputs[chance.choice(texts)] = text(chance)


def _wrong_number(prompt: Prompt, chance: random.Random) -> None:
    inputs = _own(prompt, chance)
    if numbers := [key for key, found in inputs.items() if isinstance(found, int | float)]:
        inputs[chance.choice(numbers)] = chance.choice(NUMBERS)


def _missing(prompt: Prompt, chance: random.Random) -> None:
    inputs = _own(prompt, chance)
    inputs.pop(chance.choice(list(inputs)), None)


def _no_dials(prompt: Prompt, chance: random.Random) -> None:
    """A choice with none, or only some, of the dials that it brings."""
    nested = [(node["inputs"], key) for node in prompt.values() for key in node["inputs"] if "." in key]
    for inputs, key in nested:
        if key.startswith(("method.", "look.")) and chance.random() < 0.7:
            del inputs[key]


def _unknown(prompt: Prompt, chance: random.Random) -> None:
    keys = ("more", "method.more", "method.method", "look.look.look", "", ".", "cls", "self", text(chance))
    _own(prompt, chance)[chance.choice(keys)] = value(chance)


def _wrong_link(prompt: Prompt, chance: random.Random) -> None:
    inputs, key = chance.choice(_links(prompt))
    inputs[key] = [chance.choice([*prompt, "99"]), chance.choice((0, 0, 1, 2, 7))]


def _no_link(prompt: Prompt, chance: random.Random) -> None:
    inputs, key = chance.choice(_links(prompt))
    del inputs[key]


def _no_node(prompt: Prompt, chance: random.Random) -> None:
    del prompt[chance.choice(list(prompt))]


SPOILERS: tuple[Callable[[Prompt, random.Random], None], ...] = (
    _wrong_value, _wrong_text, _wrong_number, _missing, _no_dials, _unknown, _wrong_link, _no_link, _no_node,
)  # fmt: skip
