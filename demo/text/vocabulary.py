"""Prompts as numbers. Words outside of the vocabulary are left out and handed back, so that a caller can name them.

Prompts are cut into chunks of `LENGTH` tokens; what is left of the last chunk is padding. An empty prompt is one chunk
of padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

LENGTH = 32  # tokens of a chunk
PADDING = 0
SIZE = 512  # rows of the encoder's table: a longer list of words fits in without a new shape
SILENT = frozenset("a an the of is are has s very some her his their its him".split())
_PIECES = re.compile(r"[^\W_]+|[^\w\s]")
_STOPS = ",.;:|/\n"  # all read as a comma
_QUIET_SIGNS = frozenset("'\"()[]{}-_!?’‘“”–—")


@cache
def words() -> tuple[str, ...]:
    """All words; the index of a word, plus one, is its token. New words go to the end of the file, none is moved."""
    return tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())


@cache
def _tokens() -> dict[str, int]:
    return {word: index + 1 for index, word in enumerate(words())}


def tokenize(prompt: str, before: Sequence[int] = ()) -> tuple[list[int], list[str]]:
    """Tokens of a prompt of any length, and the words that are not in the vocabulary, each once, in their order.

    A part of a prompt is read as it is after the tokens `before` it: a comma counts between words and once.
    """
    known, tokens, unknown = _tokens(), list(before), {}
    for piece in _PIECES.findall(prompt.lower().replace("\n", ",")):
        if piece in _STOPS:
            if tokens and tokens[-1] != known[","]:
                tokens.append(known[","])
        elif piece in known:
            tokens.append(known[piece])
        elif piece not in SILENT and piece not in _QUIET_SIGNS:
            unknown[piece] = None
    return tokens[len(before) :], list(unknown)


def padded(tokens: Iterable[int]) -> list[int]:
    """The same in whole chunks, at least one."""
    tokens = list(tokens)
    return tokens + [PADDING] * ((-len(tokens) % LENGTH) if tokens else LENGTH)
