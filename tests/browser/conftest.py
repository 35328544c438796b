"""The real front end in a headless Chromium, on a real server."""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # the helpers beside the layers of tests

import live_host

from dev import browser as driver
from dev.tools import find_browser


@pytest.fixture(scope="session")
def chromium():
    program = find_browser()
    if program is None:
        pytest.skip("needs Chromium: install one, or set MAGICSTYLE_BROWSER to its program")
    pytest.importorskip("playwright", reason="needs playwright: run `python3 dev.py test`")
    with driver.chromium(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def host(pytestconfig):
    return live_host.shared(pytestconfig)


@pytest.fixture
def picture(request, tmp_path):
    """Where this test keeps its screenshot: in ``MAGICSTYLE_OUT``, if that is set."""
    folder = Path(os.environ.get("MAGICSTYLE_OUT") or tmp_path)
    return folder / (re.sub(r"[^\w-]+", "_", request.node.name).strip("_") + ".png")


@pytest.fixture(scope="session")
def pages(chromium, host):
    """Opens pages; one serves all tests, until one of them fails in it."""
    opened = []

    def page(fresh=False):
        if fresh and opened:
            opened.pop().close()
        if not opened:
            opened.append(driver.FrontEnd(chromium, host.url).open())
        return opened[0]

    yield page
    for front in opened:
        front.close()


@pytest.fixture
def front(pages, picture, request):
    """The page with an empty graph; afterwards a screenshot, and no errors and no foreign requests in it."""
    front = pages()
    front.clear()
    failures = request.session.testsfailed
    yield front
    front.screenshot(picture)
    for setting in ("Comfy.VueNodes.Enabled", "Comfy.RightSidePanel.IsOpen"):
        front.set_setting(setting, False)  # the server would keep them
    problems, foreign = list(front.problems), list(front.foreign)
    if problems or foreign or request.session.testsfailed > failures:
        pages(fresh=True)
    assert problems == []
    assert foreign == []


@pytest.fixture(params=["classic", "nodes 2.0"])
def rendering(request, front):
    """Both ways in which the front end draws nodes."""
    front.set_setting("Comfy.VueNodes.Enabled", request.param == "nodes 2.0")
    return request.param
