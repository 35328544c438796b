"""What the pack adds to the page: names in its own namespace, nothing that runs text."""

import re
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "web").glob("*.js"))


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} >= {"bank_thumbnail.js", "node_text.js"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_registers_one_extension_in_the_packs_namespace(path):
    text = path.read_text()
    assert re.findall(r'registerExtension\(\{\s*name: "([^"]*)"', text) == [f"magicstyle.{path.stem}"]
    assert text.count("registerExtension") == 1


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_makes_no_code_or_page_of_texts(path):
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://"
    assert not re.findall(unsafe, path.read_text())
