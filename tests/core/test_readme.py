"""What the words promise: links lead somewhere, messages are given by the code, nodes and methods are all there."""

import ast
import re
from pathlib import Path

import pytest

from magicstyle_core.methods import CUSTOM, METHODS

ROOT = Path(__file__).resolve().parents[2]
BASE = "https://github.com/magicstyle/comfyui-magicstyle/blob/main/"  # for help pages, which have no folder around them
HELP = sorted((ROOT / "web" / "docs").glob("*.md"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "demo" / "MODEL_CARD.md", *HELP]
WORDS = 1_600
ANYTHING = None


def text_of(path):
    return path.read_text(encoding="utf-8")


def name_of(path):
    return str(path.relative_to(ROOT))


def anchors(path):
    """Headings of a page as its links call them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        inside = link.startswith(BASE)
        if "://" in link and not inside:
            continue
        assert inside or page not in HELP, f"{link}: a relative link leads nowhere in ComfyUI's help"
        address, _, anchor = link.removeprefix(BASE).partition("#")
        target = (ROOT if inside else page.parent) / address if address else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", HELP, ids=lambda page: page.stem)
def test_a_help_page_leads_on(page):
    links = set(re.findall(r"\((\S+?)\)", text_of(page)))
    assert {f"{BASE}docs/{name}.md" for name in ("settings", "troubleshooting")} <= links


def test_the_readme_is_short_and_has_every_node():
    text = text_of(ROOT / "README.md")
    assert len(text.split()) <= WORDS
    assert set(re.findall(r"\(web/docs/(\w+)\.md\)", text)) == {page.stem for page in HELP}


def test_the_readme_has_every_workflow():
    named = set(re.findall(r"`(\w+\.json)`", text_of(ROOT / "README.md")))
    assert named == {file.name for file in (ROOT / "workflows").glob("*.json")}


def test_the_help_of_ffa_has_every_method_with_its_dials():
    rows = [line.strip("| ").split(" | ") for line in text_of(ROOT / "web/docs/MagicStyle_FFA.md").splitlines()]
    said = {row[0]: (row[2], row[3]) for row in rows if len(row) == 4}
    for name, method in {**METHODS, **CUSTOM}.items():
        content, dials = said[name]
        values = [f"{d.name} `{d.default}`" if d.choices else f"{d.name} {d.default:g}" for d in method.dials]
        assert dials == (", ".join(values) or "none")
        rules = [part.rule for part in method.parts(**{dial.name: dial.default for dial in method.dials})]
        reads, needs = (any("content" in getattr(rule, kind) for rule in rules) for kind in ("reads", "needs"))
        assert content.startswith("needed" if needs else "used" if reads else "not read"), name


def messages():
    """Every text in the sources as its constant parts, with ANYTHING for what is filled in."""
    for folder in ("magicstyle_core", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in ast.walk(ast.parse(text_of(path))):
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
HEADINGS = [
    heading
    for line in text_of(ROOT / "docs" / "troubleshooting.md").splitlines()
    if line.startswith("#### `")
    for heading in re.findall(r"`([^`]+)`", line)
]


def known(heading):
    return any(begins(heading, parts) for parts in MESSAGES)


def test_there_are_headings():
    assert len(HEADINGS) > 40


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_heading_is_the_beginning_of_a_message(heading):
    assert known(heading)


@pytest.mark.parametrize("heading", ["The moon is full", "The style bank was eaten", "Layers of cake"])
def test_the_check_sees_a_heading_of_nothing(heading):
    assert not known(heading)
