"""Makes the pack importable by tests, and shares them between processes.

The repository root goes to the end of the path: its ``nodes`` package would hide the host's ``nodes.py``
from everything that is imported later if it came first.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

# Files that take longest begin first, so that no process is left with one at the end.
LONG = ("test_quality_guard.py", "test_companions.py", "test_other_device.py", "test_training.py", "test_devices.py")


@pytest.fixture(scope="session")
def one_thread_without_gradients():
    """No gradients, as in the host; one thread, which is the fastest for tensors of this size."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def pytest_runtestloop(session):
    """Several processes whose ``MAGICSTYLE_SHARE`` names one folder share the tests: each takes the next file that
    nobody has taken."""
    folder = os.environ.get("MAGICSTYLE_SHARE")
    if folder is None or session.testsfailed or session.config.option.collectonly:
        return None
    items = _taken(session.items, Path(folder))
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _taken(items, folder):
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    ranks = {name: rank for rank, name in enumerate(LONG)}
    for path in sorted(files, key=lambda path: (ranks.get(path.name, len(LONG)), "nodes" not in path.parts)):
        try:
            (folder / f"{path.parent.name}.{path.name}").mkdir()  # one process only can
        except FileExistsError:
            continue
        yield from files[path]
