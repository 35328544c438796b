"""Captions as people write them, from the facts of a portrait: free order, synonyms, parts left out.

`caption(facts, seed)` is one of very many; every part of it is true of the facts.
"""

from __future__ import annotations

import random

from . import wording
from .facts import Facts
from .vocabulary import LENGTH, tokenize

DROPPED = 0.15  # share of phrases that are left out
COLORLESS = 0.1  # share of phrases that are said without their colour


def caption(facts: Facts, seed: int, dropped: float = DROPPED) -> str:
    """One way to say `facts`, at most `LENGTH` tokens long."""
    r = random.Random(seed)
    features, others = _features(facts, r, dropped), _others(facts, r, dropped)
    style = facts.style if facts.style is not None and r.random() >= dropped else None
    while True:
        text = _sentence(facts, list(features), list(others), style, r)
        if len(tokenize(text)[0]) <= LENGTH:
            return text
        longest = max((features, others), key=len)
        longest.pop(r.randrange(len(longest)))


def _features(facts: Facts, r: random.Random, dropped: float) -> list[tuple[str, str]]:
    """What belongs to the head, each as (a noun after "with", an adjective or a phrase of its own)."""
    said = []
    if facts.hair and facts.cut and r.random() >= dropped:
        hair = _hair(facts, r)
        said.append((hair, hair))
    for attribute, table in wording.FEATURES.items():
        name = getattr(facts, attribute)
        often = wording.OFTEN.get((attribute, name), 1.0)
        if name in table and r.random() >= dropped and r.random() < often:
            said.append(r.choice(table[name]))
    for attribute, pairs in wording.MARKS.items():
        if getattr(facts, attribute) and r.random() >= dropped:
            said.append(r.choice(pairs))
    r.shuffle(said)
    return said


def _hair(facts: Facts, r: random.Random) -> str:
    """Colour and cut, either of them sometimes alone."""
    tone, cut = r.choice(wording.HAIR[facts.hair]), r.choice(wording.CUTS[facts.cut])
    chance = r.random()
    if chance < COLORLESS:
        return cut.format("").strip()
    if chance < 2 * COLORLESS:
        return f"{tone} hair"
    return cut.format(tone + " ")


def _others(facts: Facts, r: random.Random, dropped: float) -> list[str]:
    """Clothes and backdrop."""
    said = []
    if facts.garment and r.random() >= dropped:
        said.append(_garment(facts, r))
    if facts.backdrop and r.random() >= dropped:
        said.append(_backdrop(facts, r))
    r.shuffle(said)
    return said


def _garment(facts: Facts, r: random.Random) -> str:
    color = _color(facts.cloth, facts.cloth_shade, r)
    pattern = r.choice(wording.PATTERNS[facts.pattern]) if facts.pattern else ""
    if facts.pattern == "plain" and r.random() < 0.7:
        pattern = ""
    words = [color, pattern] if r.random() < 0.7 else [pattern, color]
    thing = " ".join(word for word in (*words, r.choice(wording.GARMENTS[facts.garment])) if word)
    return r.choice(("{}", "{}", "wearing a {}", "in a {}", "{} on")).format(thing)


def _backdrop(facts: Facts, r: random.Random) -> str:
    thing = r.choice(wording.BACKDROPS[facts.backdrop])
    color = _color(facts.background, facts.background_shade, r)
    place = r.choice(wording.PLACES)
    if thing.endswith(("background", "backdrop")):
        place = r.choice(("{}", "{}", "on a {}", "{} behind", "in front of a {}"))
    return place.format(f"{color} {thing}".strip())


def _color(name: str | None, shade: str | None, r: random.Random) -> str:
    if name is None or r.random() < COLORLESS:
        return ""
    color = r.choice(wording.COLORS[name])
    return f"{shade} {color}" if shade and r.random() < 0.5 else color


def _sentence(
    facts: Facts, features: list[tuple[str, str]], others: list[str], style: str | None, r: random.Random
) -> str:
    """A sentence about someone, or a list of phrases."""
    if r.random() < 0.35:
        parts = [r.choice(pair) for pair in features] + others
        if r.random() < 0.6:
            parts.append(_someone(facts, r))
        if style:
            parts.append(r.choice(wording.STYLES[style]))
        r.shuffle(parts)
        return ", ".join(parts)
    before = [adjective for noun, adjective in features if adjective in wording.ADJECTIVES and r.random() < 0.5]
    after = [noun for noun, adjective in features if adjective not in before]
    text = " ".join([*before, _someone(facts, r)])
    text = ("an " if text[0] in "aeiou" else "a ") + text
    if after:
        text += r.choice((" with ", " with ", ", ")) + r.choice((", ", " and ", ", ")).join(after)
    for phrase in others:
        text += ("" if phrase.startswith(("in ", "wearing ", "on ")) and r.random() < 0.5 else ",") + " " + phrase
    if not style:
        return text
    if r.random() < 0.4:
        return r.choice(wording.PREFIXES).format(r.choice(wording.STYLES[style])) + " " + text
    return text + r.choice((", ", ", ", " as a ", ", in the style of a ")) + r.choice(wording.STYLES[style])


def _someone(facts: Facts, r: random.Random) -> str:
    """The renderer knows no gender: a guess by beard and cut, or a neutral word."""
    if facts.beard not in (None, "none"):
        return r.choice(wording.MEN + wording.PEOPLE)
    guess = wording.WOMEN if facts.cut in wording.LONG_CUTS else wording.MEN
    return r.choice(r.choice((guess, guess, wording.PEOPLE, wording.WOMEN, wording.MEN)))
