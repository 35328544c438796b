"""Makes the pack importable by tests.

The repository root goes to the end of the path: its ``nodes`` package would hide the host's ``nodes.py``
from everything that is imported later if it came first.
"""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)
