"""Makes the pack importable by tests, and shares them between processes.

The repository root goes to the end of the path: its ``nodes`` package would hide the host's ``nodes.py``
from everything that is imported later if it came first.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

# A test of these takes as long as so many of core: measured means of a file's tests.
NODES = 4
LONG = {
    "test_quality_guard.py": 80,
    "test_training.py": 80,
    "test_devices.py": 25,
    "test_quality.py": 15,
    "test_render_torch.py": 6,
}


@pytest.fixture(scope="session")
def one_thread_without_gradients():
    """No gradients, as in the host; one thread, which is the fastest for tensors of this size."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.hookimpl(trylast=True)  # of what is left when some were deselected
def pytest_collection_modifyitems(config, items):
    """With ``MAGICSTYLE_SHARE`` of ``k/n`` only the k-th of n shares of the files, about equally long."""
    number, _, shares = os.environ.get("MAGICSTYLE_SHARE", "0/1").partition("/")
    weights = Counter()
    for item in items:
        weights[item.path] += LONG.get(item.path.name, NODES if "nodes" in item.path.parts else 1)
    mine, loads = set(), [0] * int(shares)
    for path, weight in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])):
        lightest = loads.index(min(loads))
        loads[lightest] += weight
        if lightest == int(number):
            mine.add(path)
    config.hook.pytest_deselected(items=[item for item in items if item.path not in mine])
    items[:] = [item for item in items if item.path in mine]
