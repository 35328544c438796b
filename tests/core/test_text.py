"""Texts of files and users, as pages and terminals get them."""

import ast
import re

import pytest

from magicstyle_core.text import plain, quoted, shown

HOSTILE = (
    "<img src=x onerror=alert(1)>", "<style>*{display:none}</style>", "[a](javascript:alert(1))", "![x](http://evil/x.png)",
    "[[label|https://evil.example]]", "**bold** _italic_ `code` ~~gone~~", "# head\n- item\n> quote", "&lt;b&gt; &#60;",
    "https://evil.example/x", "www.evil.example", "evil.example", "a@evil.example",
    "\x1b[2J\x1b]0;title\x07", "a\rb\nc\td",
    "\u202eright to left\u2028", "\ud800", "{{constructor}}", "<a|b>", "$HOME", "\\x3c",
)  # fmt: skip
HARMLESS = (
    "DemoConfig (EPS, sigma 0.02917 to 14.61, width 64, 7 self-attentions, weights 97a87bc7a662)",
    "v_prediction", "exact", "a = b; it's + c: d.",
)  # fmt: skip
LONG = ["x" * 10_000, "\ud800" * 10_000]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_is_left_that_a_page_or_a_terminal_acts_on(text):
    said = plain(text)
    assert said.isascii()
    assert said.isprintable()
    assert not set(said) & set('<>[]&*`~#|@/!{}$"')
    assert not re.search(r"\w\.[A-Za-z]", said)  # a page makes a link of it
    assert ast.literal_eval(f'"{said}"') == text  # and nothing is lost: these are Python's escapes


@pytest.mark.parametrize("text", HARMLESS)
def test_what_banks_say_of_themselves_stays_as_it_is(text):
    assert plain(text, 200) == text


@pytest.mark.parametrize("text", [*HOSTILE, *LONG, 7, None, ["a"]], ids=lambda text: ascii(text)[:20])
def test_what_users_write_is_short_and_can_be_sent(text):
    for said in (quoted(text), plain(str(text)), shown(text)):
        said.encode()
        assert said.isprintable()
        assert len(said) <= 303
    if len(str(text)) <= 40:
        assert ast.literal_eval(quoted(text)) == str(text)
    else:
        assert len(quoted(text)) == 85
        assert quoted(text)[-4:] == "...'"
