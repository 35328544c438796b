"""Write vectors.safetensors: random hidden states, and what the published formulas make of them.

python tests/core/record_vectors.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from published import PUBLISHED, PUBLISHED_DIALS, picture
from safetensors.numpy import save_file

FILE = Path(__file__).with_name("vectors.safetensors")
GRID, CHANNELS, HEADS = (8, 8), 12, 2
STEPS = 50
MOMENTS = (0, 10, 21, 36, 47)  # before, in, and after every stage; step 10 is one of cross-image attention's structure
PICTURES = ("live", "content", "style")


def vectors() -> dict[str, np.ndarray]:
    """Hidden states and projections, and the outputs of every method, part, choice of dials and moment."""
    r = np.random.default_rng(5)
    made = {f"hidden {name}": r.normal(size=(GRID[0] * GRID[1], CHANNELS)) for name in PICTURES}
    made |= {f"to {name}": r.normal(size=(CHANNELS, CHANNELS)) / 2 for name in "qkv"}
    weights = [made[f"to {name}"] for name in "qkv"]
    seen = [picture(made[f"hidden {name}"], GRID, *weights, HEADS) for name in PICTURES]
    for name, formulas in PUBLISHED.items():
        for number, dials in enumerate(PUBLISHED_DIALS[name]):
            for part, formula in enumerate(formulas):
                for step in MOMENTS:
                    made[key(name, number, part, step)] = np.ascontiguousarray(formula(*seen, step, STEPS, **dials))
    return made


def key(method: str, dials: int, part: int, step: int) -> str:
    """Name of an output."""
    return f"{method} | dials {dials} | part {part} | step {step}"


if __name__ == "__main__":
    save_file(vectors(), FILE)
