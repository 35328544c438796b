"""Truth benchmark: how well a method repaints rendered people whose picture in the style is known.

The renderer draws a person and the same person in a style, so a result is compared with the truth itself. Pictures
are float32 numpy (S, S, 3) in 0..1 everywhere.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # for demo and magicstyle_core; not first: nodes/ would hide the host's nodes.py
