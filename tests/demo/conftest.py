"""Makes the truth benchmark importable, whose measures and pairs are under test here, and the helpers of all tests."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS), str(TESTS.parent / "benchmarks")]


@pytest.fixture(scope="session", autouse=True)
def _torch_settings(one_thread_without_gradients):
    pass
