"""A real server, as users run it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # the helpers beside the layers of tests

import live_host


@pytest.fixture(scope="session")
def host(pytestconfig):
    return live_host.shared(pytestconfig)


@pytest.fixture
def demo():
    return live_host.small(live_host.twin("magicstyle_demo"))
