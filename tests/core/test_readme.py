"""The headings under Troubleshooting are the beginnings of messages that the pack really gives."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = [
    heading
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("#### `")
    for heading in re.findall(r"`([^`]+)`", line)
]
ANYTHING = None


def messages():
    """Every text in the sources as its constant parts, with ANYTHING for what is filled in."""
    for folder in ("magicstyle_core", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(found, ast.JoinedStr):
                    yield [part.value if isinstance(part, ast.Constant) else ANYTHING for part in found.values]
                elif isinstance(found, ast.Constant) and isinstance(found.value, str):
                    yield [found.value]


def begins(heading, parts):
    if not heading:
        return True
    if not parts:
        return False
    first, *rest = parts
    if first is ANYTHING:
        filled = re.match(r"\S+( \(\.\.\.\))?", heading)  # a word, or a word and (...); headings end in fixed text
        ends = range(1, filled.end() + 1) if filled else ()
        return any(begins(heading[end:], rest) for end in ends if heading[end:])
    length = min(len(heading), len(first))
    return heading[:length] == first[:length] and begins(heading[length:], rest)


MESSAGES = list(messages())


def test_there_are_headings():
    assert len(HEADINGS) > 15


def known(heading):
    """Whether a message begins so; of one that begins with something filled in, a later part may."""
    return any(begins(heading, parts[1:] if parts[0] is ANYTHING else parts) for parts in MESSAGES if any(parts))


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_heading_is_the_beginning_of_a_message(heading):
    assert known(heading) or known(f" {heading}")


@pytest.mark.parametrize("heading", ["The moon is full", "The style bank was eaten", "Layers of cake"])
def test_the_check_sees_a_heading_of_nothing(heading):
    assert not known(heading)


def test_every_node_is_described():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert set(re.findall(r"\(web/docs/(\w+)\.md\)", text)) == pages
