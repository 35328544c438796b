"""Texts of files and users as pages, terminals and messages can take them."""

from __future__ import annotations

import re

# Letters, digits and what sentences need. A dot before a letter makes a link of a word, an underscore beside one italics.
_OTHER = re.compile(r"[^\w +,.:;=()'-]|\.(?=[^\W\d])|(?<![^\W_])_|_(?![^\W_])", re.ASCII)


def plain(text: str, longest: int = 80) -> str:
    """``text`` with Python escapes for all that HTML, markdown or a terminal could take for more than text; cut after
    ``longest`` characters."""
    cut = text[:longest] + "..." * (len(text) > longest)
    return _OTHER.sub(lambda found: _escaped(found[0]), cut)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(text: object, longest: int = 80) -> str:
    """What a user wrote, in quotes and ASCII, for a message; cut after ``longest`` characters."""
    return ascii(str(text)[:longest] + "..." * (len(str(text)) > longest))


def shown(path: object, longest: int = 300) -> str:
    """A path of this system for a message: what is no character on others is escaped; cut after ``longest``."""
    text = str(path)
    cut = text[:longest] + "..." * (len(text) > longest)
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in cut)
