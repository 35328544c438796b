"""Texts of files and users as pages, terminals and messages can take them."""

from __future__ import annotations

import re

# Not letters, digits and what sentences need. A dot before a letter makes a link of a word, an underscore italics.
_OTHER = re.compile(r"[^\w +,.:;=()'-]|\.(?=[^\W\d])|(?<![^\W_])_|_(?![^\W_])", re.ASCII)


def plain(text: str, longest: int = 80) -> str:
    """``text`` with Python escapes for all that HTML, markdown or a terminal could take for more than text; cut after
    ``longest`` characters."""
    return _cut(_OTHER.sub(lambda found: _escaped(found[0]), text[: longest + 1]), longest)


def quoted(text: object, longest: int = 80) -> str:
    """What a user wrote, in quotes and ASCII, for a message; cut after ``longest`` characters."""
    said = ascii(str(text)[: longest + 1])
    return f"{said[0]}{_cut(said[1:-1], longest)}{said[0]}"


def shown(path: object, longest: int = 300) -> str:
    """A path of this system for a message: what is no character on others is escaped; cut after ``longest``."""
    letters = (letter if letter.isprintable() else _escaped(letter) for letter in str(path)[: longest + 1])
    return _cut("".join(letters), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
